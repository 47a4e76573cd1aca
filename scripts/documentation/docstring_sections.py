"""Docstrings as the reference of the site reads them: names of sections, and plain text."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = {"Example": "Examples", "Call arguments": "Other Parameters: Call arguments"}


class DocstringSections(griffe.Extension):
    """Shows examples as code, the arguments of `call` as a list, and `<` and `>` as they are."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if not obj.docstring:
            return
        text, *example = re.split(r"(?m)(?=^ *Example:$)", obj.docstring.value, maxsplit=1)
        text = "\n".join(_escaped(line) for line in text.split("\n")) + "".join(example)
        for ours, theirs in SECTIONS.items():
            text = re.sub(rf"(?m)^( *){ours}:$", rf"\1{theirs}:", text)
        obj.docstring.value = text


def _escaped(line: str) -> str:
    """The line with no tag (`<name>`) and no quotation (`: > 0`) in it for Markdown."""
    parts = line.split("`")  # every second one is code
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"<(?=\w+>)", "&lt;", parts[number])
        parts[number] = re.sub(r"(?<=: )>", "&gt;", parts[number])
    return "`".join(parts)
