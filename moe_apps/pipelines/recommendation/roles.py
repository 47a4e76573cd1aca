"""Guesses what columns are for, by their names and values; a person has the last word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from moe_apps.pipelines.recommendation.column_facts import ColumnFacts

_IDS = {
    "user": r"(user|uid|customer|client|member|visitor|reviewer)",
    "item": r"(item|iid|movie|film|product|sku|ad|goods|article|video|song|book|video_id)",
}
_TIME = r"(\w+_)?(time|timestamp|ts|date|datetime|day|when)|\w+_at"
_DOMAIN = r"(domain|scenario|scene|channel|market|site)"
_TREATMENT = r"(treatment|treated|arm|segment|variant|experiment_group|offer|campaign)"
_LABEL = (
    r"(label|target|y|click(ed)?|like(d)?|buy|bought|purchase(d)?|conver(sion|ted)|visit(ed)?|"
    r"order(ed)?|is_\w+|long_view|churn(ed)?|response|ctr_label|cvr_label)"
)
_RATING = r"(rating|stars|score)"
_AMOUNT = r"(spend|revenue|amount|watch_?time|dwell_?time|minutes|play_?time)"
_NO_TREATMENT = r"(no[ _-]?.*|none|control|0|false|untreated)"
_WORD = re.compile(r"[^a-z0-9]+")


@dataclass
class Roles:
    """Columns by role.

    Attributes:
        user: User id.
        item: Item id.
        time: Time.
        domain: Domain or scenario.
        treatment: Treatment.
        control: Its value for "no treatment".
        labels: Rule of each label, by column.
        regression: Which of them are amounts.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    domain: str | None = None
    treatment: str | None = None
    control: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    regression: tuple[str, ...] = ()


def guess_roles(facts: Mapping[str, ColumnFacts], frame: pd.DataFrame | None = None) -> Roles:
    """Roles of columns by name, and by whether their values can have that role.

    Args:
        facts: What the columns hold.
        frame: Some rows; if no label is found by name, a last column of two texts is taken for
            one, and its rarer text for a yes.

    Example:
        >>> facts = {name: ColumnFacts(name, rows=9, numbers=9) for name in ("user_id", "rating")}
        >>> facts["rating"].least, facts["rating"].largest = 1, 5
        >>> guess_roles(facts).labels
        {'rating': 'rating >= 4'}
    """
    found = Roles()
    for role, pattern in _IDS.items():
        setattr(found, role, _first(facts, rf"{pattern}(_?(id|no|number|key))?"))
    found.time = next(
        (name for name, one in facts.items() if _matches(name, _TIME) and _is_time(one)), None
    )
    found.domain = _first(facts, _DOMAIN, most=50)
    found.treatment, found.control = _treatment(facts)
    regression = []
    for name, one in facts.items():
        if name in (found.user, found.item, found.time, found.domain, found.treatment):
            continue
        if _matches(name, _LABEL) and is_binary(one):
            found.labels[name] = name
        elif _matches(name, _RATING) and one.numbers == one.filled and 1 <= one.largest <= 10:
            found.labels[name] = f"{name} >= {4 if one.largest <= 5 else 8}"
        elif _matches(name, _AMOUNT) and one.numbers == one.filled:
            found.labels[name] = name
            regression.append(name)
    binary = [name for name in found.labels if name not in regression]
    if not binary:
        last = [name for name, one in facts.items() if is_binary(one)]
        last = [name for name in last if name not in found.labels][-1:]
        found.labels |= {name: name for name in last}
    if not found.labels and frame is not None:
        found.labels = _last_of_two(facts, frame)
    # Amounts alone may be features: they are labels beside a yes-or-no label only.
    found.regression = tuple(regression)
    return found


def is_binary(one: ColumnFacts) -> bool:
    """Whether all values are 0 or 1, and both come up."""
    whole = one.whole == one.filled > 0
    return whole and one.distinct == 2 and (one.least, one.largest) == (0, 1)


def _last_of_two(facts: Mapping[str, ColumnFacts], frame: pd.DataFrame) -> dict[str, str]:
    name = list(facts)[-1]
    counts = frame[name].value_counts() if facts[name].distinct == 2 else pd.Series(dtype=int)
    return {name: f"{name} == {counts.index[-1]}"} if len(counts) == 2 else {}


def _first(facts: Mapping[str, ColumnFacts], pattern: str, most: int | None = None) -> str | None:
    for name, one in facts.items():
        if _matches(name, pattern) and one.filled and (most is None or one.distinct <= most):
            return name
    return None


def _matches(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, _WORD.sub("_", name.lower()).strip("_")) is not None


def _is_time(one: ColumnFacts) -> bool:
    return one.filled > 0 and one.filled in (one.dates, one.numbers)


def _treatment(facts: Mapping[str, ColumnFacts]) -> tuple[str | None, str | None]:
    for name, one in facts.items():
        if _matches(name, _TREATMENT) and 2 <= one.distinct <= 10:
            values = one.examples if one.distinct <= len(one.examples) else list(one.texts)
            for value in values or one.examples:
                if re.fullmatch(_NO_TREATMENT, value.lower()):
                    return name, value
    return None, None
