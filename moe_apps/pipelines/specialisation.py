"""What gates do over rows: how they share them out, and what that says of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def routing_values(weights: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, float]:
    """Load and entropy of gates, for the values of an epoch.

    Args:
        weights: Of each gate, `[..., experts]`; what counts is how large a weight is.

    Returns:
        Under the names of a layer's own tracker: `<gate>/load_<expert>`, the mean share of the
        expert, and `<gate>/entropy`, the mean entropy of single rows in nats.

    Example:
        >>> routing_values({"click": np.array([[1.0, 0.0], [0.5, 0.5]])})["click/load_0"]
        0.75
    """
    values: dict[str, float] = {}
    for gate, found in weights.items():
        size = np.abs(found.reshape(-1, found.shape[-1]).astype(np.float64))
        share = size / np.maximum(size.sum(axis=1, keepdims=True), 1e-12)
        load = share.mean(axis=0)
        values |= {f"{gate}/load_{expert}": float(part) for expert, part in enumerate(load)}
        values[f"{gate}/entropy"] = float(entr(share).sum(axis=1).mean())
    return values
