"""Drafts a schema, as YAML to edit, from what is known of the columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from moe_apps.pipelines.recommendation.column_facts import ColumnFacts
from moe_apps.pipelines.recommendation.roles import Roles
from moe_apps.pipelines.recommendation.schema import CsvFormat

FEW_NUMBERS = 20
"""Whole numbers of at most so many different values are taken for categories."""

MANY_VALUES = 200_000
"""Beyond so many different values a category is hashed."""

LARGEST_TABLE = 2**18

SHARED_VALUES = 0.5
"""Share of a sequence's values that a column has to have for the two to share a table."""


def kind_of(one: ColumnFacts, roles: Roles) -> str:
    """dense, categorical, sequence, time, counter, constant or empty, as far as values tell.

    Example:
        >>> kind_of(ColumnFacts("age", rows=9, numbers=9, whole=9), Roles())
        'constant'
    """
    if not one.filled:
        return "empty"
    if re.fullmatch(r"|index|row|Unnamed: \d+", one.name) and one.whole == one.filled:
        return "counter"
    if one.distinct <= 1 and one.missing == 0:
        return "constant"
    if one.lists > one.filled * 0.3:
        return "sequence"
    if one.dates == one.filled:
        return "time"
    if one.name in (roles.user, roles.item, roles.domain):
        return "categorical"
    if one.numbers == one.filled or mostly_numbers(one):
        few = one.whole == one.filled and one.distinct <= FEW_NUMBERS
        coded = re.search(r"(^|_)(id|code|zip|type|category)$", one.name.lower())
        return "categorical" if few or (coded and one.whole == one.filled) else "dense"
    return "categorical"


def mostly_numbers(one: ColumnFacts) -> bool:
    """Whether it holds numbers, and a few words that can only mean "missing"."""
    return one.numbers > one.filled / 2 and bool(one.texts) and not one.more_texts


def draft_schema(
    facts: Mapping[str, ColumnFacts],
    roles: Roles,
    left_out: Mapping[str, str],
    csv: CsvFormat | None,
) -> str:
    """A schema as YAML, with a remark on each column that is left out.

    Args:
        facts: What the columns hold.
        roles: What they are for.
        left_out: Reason by column that is to be no field.
        csv: How the text is written; None for Parquet.
    """
    lines = ["# Drafted from the data: check every line.", "fields:"]
    names = _Names({_identifier(column) for column in roles.labels})
    by_column: dict[str, str] = {}
    listed = []
    for column, one in facts.items():
        kind = kind_of(one, roles)
        reason = left_out.get(column)
        if column in (roles.time, roles.treatment, *roles.labels):
            continue
        if reason or kind in ("time", "constant", "empty", "counter"):
            lines.append(f"# {column!r}: left out, {reason or _REASONS[kind]}")
        elif kind == "sequence":
            listed.append(one)
        else:
            by_column[column] = names.new(column)
            lines.append("- " + _flow(_field(one, kind, by_column[column], roles)))
    for one in listed:
        lines += _sequence(one, names, facts, by_column)
    lines.append("tasks:")
    for column, rule in roles.labels.items():
        task: dict[str, Any] = {"name": _identifier(column), "label": rule}
        if column in roles.regression:
            task["kind"] = "regression"
        lines.append("- " + _flow(task))
    if not roles.labels:
        lines.append("- {name: label, label: NAME_OF_THE_LABEL_COLUMN}")
    for role in ("user", "item", "time", "domain"):
        column = getattr(roles, role)
        lines.append(
            _flow({role: column})[1:-1] if column else f"# {role}: column of the {role}, if any"
        )
    if roles.treatment:
        lines.append(f"treatment: {_flow({'column': roles.treatment, 'control': roles.control})}")
    lines += _csv(facts, csv)
    return "\n".join(lines) + "\n"


_REASONS = {
    "time": "a date is no feature as it stands",
    "constant": "it has one value only",
    "empty": "it has no value",
    "counter": "it counts the rows",
}


def _field(one: ColumnFacts, kind: str, name: str, roles: Roles) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    if name != one.name:
        made["column"] = one.name
    made["kind"] = kind
    if kind == "categorical":
        if one.whole == one.filled and one.least >= 0:
            made["type"] = "int"
        if one.distinct > MANY_VALUES:
            made |= {"encoding": "hashed", "size": LARGEST_TABLE}
    elif one.least >= 0 and one.largest > 1000:
        made["transform"] = "log1p"
    group = "user" if one.name == roles.user else "item" if one.name == roles.item else None
    return {**made, "group": group} if group else made


def _sequence(
    one: ColumnFacts, names: _Names, facts: Mapping[str, ColumnFacts], by_column: Mapping[str, str]
) -> list[str]:
    """A sequence of the field that most of its values are in; of one of its own otherwise."""
    name = names.new(one.name)
    made: dict[str, Any] = {"name": name}
    if name != one.name:
        made["column"] = one.name
    shares = {
        column: one.parts.share_in(facts[column].count)
        for column in by_column
        if kind_of(facts[column], Roles()) != "dense" or facts[column].whole
    }
    best = max(shares, key=lambda column: shares[column], default=None)
    own = best is None or shares[best] < SHARED_VALUES
    of = f"{name}_first" if own else by_column[str(best)]
    listed = made | {"kind": "sequence", "of": of}
    if one.separator != "|":
        listed["separator"] = one.separator
    lines = [f"- {_flow(listed)}"]
    if own:
        first = {"name": of, "column": one.name, "kind": "categorical", "separator": one.separator}
        lines.insert(0, f"- {_flow(first)}")
    return lines


def _csv(facts: Mapping[str, ColumnFacts], csv: CsvFormat | None) -> list[str]:
    if csv is None:
        return []
    given: dict[str, Any] = {}
    if csv.separator != ",":
        given["separator"] = csv.separator
    if csv.columns:
        given["columns"] = csv.columns
    words = {text for one in facts.values() if mostly_numbers(one) for text in one.texts}
    if any("?" in one.texts for one in facts.values()):
        words.add("?")
    if words:
        given["missing"] = [*CsvFormat().missing, *sorted(words)]
    return [f"csv: {_flow(given)}"] if given else []


class _Names:
    """Python names of columns, each once."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = set(taken)

    def new(self, column: str) -> str:
        base = name = _identifier(column)
        number = 2
        while name in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name)
        return name


def _identifier(column: str) -> str:
    name = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_") or "column"
    return f"c_{name}" if name[0].isdigit() else name


def _flow(value: Any) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    ).strip()
