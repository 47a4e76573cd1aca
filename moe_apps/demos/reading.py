"""What experts did, in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

SHOWN = 3
"""Experts that are spoken of, the strongest first."""
ALIKE = 1.15
"""An expert serves all groups alike where none gives it this many times its mean share."""


def expert_reading(
    here: Sequence[float] | npt.NDArray[np.floating],
    by_group: Mapping[str, Sequence[float]],
    group: str,
    names: Sequence[str] = (),
    most: int = SHOWN,
) -> str:
    """Lines of Markdown on the experts that did most here, and what they do elsewhere.

    Args:
        here: Share of each expert in this answer, `[experts]`.
        by_group: Mean shares `[experts]` on test data, by name of group; may be empty.
        group: What a group is, such as "hour".
        names: Of the experts; by default their numbers.
        most: Experts that are spoken of.

    Example:
        >>> print(expert_reading([0.8, 0.2], {"06": [0.9, 0.1], "18": [0.2, 0.8]}, "hour"))
        - **Expert 0** had 80% of the weight; on test data it is strongest for hour 06 (90%).
        - **Expert 1** had 20% of the weight; on test data it is strongest for hour 18 (80%).
    """
    lines = []
    groups = np.array([list(shares) for shares in by_group.values()], float)
    for expert in np.argsort(-np.asarray(here), kind="stable")[:most]:
        share = here[expert]
        if share < 0.005:
            continue
        name = names[expert] if len(names) else f"Expert {expert}"
        line = f"- **{name}** had {share:.0%} of the weight"
        if len(by_group) > 1:
            own = groups[:, expert]
            best = int(own.argmax())
            if own[best] < ALIKE * max(own.mean(), 1e-9):
                line += f"; on test data it serves every {group} alike"
            else:
                where = list(by_group)[best]
                line += f"; on test data it is strongest for {group} {where} ({own[best]:.0%})"
        lines.append(line + ".")
    return "\n".join(lines)
