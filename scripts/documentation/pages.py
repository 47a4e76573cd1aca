"""What the site changes in a page before it is rendered."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

LAYERS = Path(__file__).parents[2] / "moe_apps" / "layers"
PACKAGES = {
    "moe_apps.layers": LAYERS,
    "moe_apps.layers.addons": LAYERS / "addons",
    "moe_apps.layers.callbacks": LAYERS / "callbacks",
}


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    if page.parent is None:  # the menu of its section would have this page alone
        page.meta["hide"] = ["navigation"]
    if page.file.src_uri == "layers.md":
        return with_links(markdown)
    return re.sub(r"^\|.*`.*$", bars_in_code, markdown, flags=re.MULTILINE)


def bars_in_code(row: re.Match[str]) -> str:
    """Code hosts want bars in a table's code escaped, and MkDocs would show the backslash."""
    parts = row[0].split("`")  # every second one is code
    parts[1::2] = [part.replace(r"\|", "|") for part in parts[1::2]]
    return "`".join(parts)


def with_links(gallery: str) -> str:
    """The gallery of layers, its names of classes linked with the reference."""
    packages: dict[str, str] = {}
    for package, folder in PACKAGES.items():
        for name in public_names(folder / "__init__.py"):
            packages.setdefault(name, package)

    def linked(row: re.Match[str]) -> str:
        start, name = row.groups()
        return f"{start}[`{name}`][{packages[name]}.{name}]" if name in packages else row[0]

    return re.sub(r"^(\| \w+ \| )`(\w+)`", linked, gallery, flags=re.MULTILINE)


def public_names(file: Path) -> list[str]:
    """What a module names in `__all__`, without importing it."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return list(ast.literal_eval(statement.value))
    return []
