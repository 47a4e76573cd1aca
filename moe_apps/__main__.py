"""`python -m moe_apps` is the command line."""

from __future__ import annotations

from moe_apps.cli import main

if __name__ == "__main__":
    main()
