"""How much the choice of an expert says of what it is chosen for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import entr


def specialisation(groups: Sequence[npt.NDArray[np.floating]]) -> float:
    """Mutual information of group and expert over the experts' entropy, all groups alike.

    Args:
        groups: `[rows, experts]` weights of each group, rows summing to 1.

    Returns:
        0 where experts are chosen alike in all groups, 1 where the expert tells the group.

    Example:
        >>> specialisation([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])])
        1.0
    """
    if not groups:
        return 0.0
    joint = np.stack([rows.mean(axis=0) for rows in groups]) / len(groups)
    experts = float(entr(joint.sum(axis=0)).sum())
    if experts <= 0:
        return 0.0
    both, alone = float(entr(joint).sum()), float(entr(joint.sum(axis=1)).sum())
    return max(experts + alone - both, 0.0) / experts
