"""Pages to try the models in a browser, one tab a domain."""

from __future__ import annotations

TABS = {
    name: f"moe_apps.demos.{name}"
    for name in ("forecasting", "trajectory", "acoustic", "deraining", "recommendation")
}
"""Module of each domain's tab; each has `TITLE` and `tab(source)`."""
