"""Names and numbers of nested results, as MLflow takes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any


def flat(
    content: Mapping[str, Any], prefix: str = "", most: float = math.inf
) -> Iterator[tuple[str, Any]]:
    """Yield every value of nested content under its dotted name.

    Args:
        content: Nested by name.
        prefix: Put before each name.
        most: A mapping with more entries is left out.

    Example:
        >>> list(flat({"test": {"mse": 0.5}, "a b (c)": 1}))
        [('test.mse', 0.5), ('a b _c_', 1)]
    """
    for name, value in content.items():
        # MLflow refuses other characters in names.
        dotted = prefix + re.sub(r"[^\w\-. /]", "_", str(name))
        if isinstance(value, Mapping):
            if len(value) <= most:
                yield from flat(value, f"{dotted}.", most)
        else:
            yield dotted, value


def numbers(content: Any, step: int) -> Iterator[tuple[float, int]]:
    """Yield each finite number with its step: `step`, or the place in a list, from 1.

    Example:
        >>> list(numbers(0.5, 3)), list(numbers([0.1, None, 0.2], 0))
        ([(0.5, 3)], [(0.1, 1), (0.2, 3)])
    """
    if isinstance(content, list | tuple):
        for index, value in enumerate(content):
            if not isinstance(value, list | tuple):
                yield from numbers(value, index + 1)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        if math.isfinite(content):
            yield float(content), step
    elif hasattr(content, "item") and getattr(content, "ndim", 0) == 0:
        yield from numbers(content.item(), step)
