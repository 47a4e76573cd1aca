"""Labels that are a rule on a column, such as `rating >= 4`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

_RULE = re.compile(r"(?P<column>.+?)\s*(?P<sign>>=|<=|==|!=|>|<|\sin\s)\s*(?P<value>.+)", re.DOTALL)
_ORDER = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    ">": np.greater,
    "<": np.less,
}


@dataclass(frozen=True)
class LabelRule:
    """A column and, unless its own numbers are the label, a comparison that makes 0 or 1 of it.

    Attributes:
        column: Name of the column.
        sign: `>=`, `>`, `<=`, `<`, `==`, `!=`, `in`, or empty for the column's own numbers.
        value: What it is compared with; a list for `in`.

    Example:
        >>> LabelRule.parse("rating >= 4")
        LabelRule(column='rating', sign='>=', value=4)
        >>> LabelRule.parse("click").column
        'click'
    """

    column: str
    sign: str = ""
    value: Any = None

    @classmethod
    def parse(cls, text: str) -> LabelRule:
        """Read `COLUMN` or `COLUMN SIGN VALUE`; raises `ValueError` saying what is wrong."""
        found = _RULE.fullmatch(text.strip())
        if found is None:
            return cls(text.strip())
        sign = found["sign"].strip()
        value = _value(found["value"])
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if sign in _ORDER and not numeric:
            raise ValueError(f"label {text!r}: {sign} needs a number after it")
        if sign == "in" and not (isinstance(value, list) and value):
            raise ValueError(f"label {text!r}: in needs a list after it, such as [1, 2]")
        if sign in ("==", "!=") and isinstance(value, list | dict):
            raise ValueError(f"label {text!r}: {sign} needs one value after it")
        return cls(found["column"], sign, value)

    @property
    def numeric(self) -> bool:
        """Whether the column has to hold numbers."""
        if self.sign in ("==", "!="):
            return not isinstance(self.value, str)
        if self.sign == "in":
            return not any(isinstance(value, str) for value in self.value)
        return True

    def apply(self, values: pd.Series) -> npt.NDArray[np.float32]:
        """Labels `[rows]` of a column `[rows]`: numbers where `numeric`, texts otherwise.

        Missing values stay missing (NaN).

        Example:
            >>> LabelRule.parse("income in [high, top]").apply(pd.Series(["low", "top", None]))
            array([ 0.,  1., nan], dtype=float32)
        """
        if not self.sign:
            return values.to_numpy(np.float32, na_value=np.nan)
        if self.sign in _ORDER:
            hit = _ORDER[self.sign](values.to_numpy(np.float64, na_value=np.nan), self.value)
        else:
            wanted = self.value if self.sign == "in" else [self.value]
            wanted = wanted if self.numeric else [str(value) for value in wanted]
            hit = values.isin(wanted).to_numpy(bool) ^ (self.sign == "!=")
        return np.where(values.isna().to_numpy(bool), np.nan, hit).astype(np.float32)


def _value(text: str) -> Any:
    """Numbers, texts and lists of them; what YAML takes for a truth value or a date is text."""
    try:
        # The base loader makes texts of all scalars, and no objects either.
        value, plain = yaml.safe_load(text), yaml.load(text, Loader=yaml.BaseLoader)  # nosec B506
    except yaml.YAMLError:
        return text.strip()  # such as `- 50.: x`
    if isinstance(value, list) and text.lstrip().startswith("["):
        return [_scalar(one, same) for one, same in zip(value, plain, strict=True)]
    return _scalar(value, text.strip() if isinstance(value, list | dict) else plain)


def _scalar(value: Any, plain: Any) -> Any:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return value if numeric else plain
