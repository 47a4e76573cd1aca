"""Pages to try the models in a browser, one tab a domain."""

from __future__ import annotations

TABS = {
    "deraining": "moe_apps.demos.deraining",
}
"""Module of each domain's tab; each has `TITLE` and `tab(source)`."""
