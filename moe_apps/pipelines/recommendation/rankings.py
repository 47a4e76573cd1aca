"""How high the wanted items rank: HR@k, NDCG@k, MRR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.recommendation.metrics import Figures, Labels, Scores

CUTS = (1, 5, 10, 20)


def positions(scores: Scores, wanted: npt.NDArray[np.integer] | None = None) -> Scores:
    """Rank of one wanted candidate in each row, from 1; equal scores share their mean rank.

    Sharing keeps a model that gives all candidates one score from winning by their order.

    Args:
        scores: `[rows, candidates]`; -inf for one that is no candidate of this row.
        wanted: Column of the wanted one, `[rows]`; by default the first.

    Example:
        >>> positions(np.array([[0.5, 0.9, 0.1], [0.5, 0.5, 0.5]])).tolist()
        [2.0, 2.0]
    """
    rows = np.arange(len(scores))
    own = scores[rows, 0 if wanted is None else wanted][:, None]
    return 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2


def ranking_figures(ranks: Scores, cuts: Sequence[int] = CUTS) -> Figures:
    """Means over rows with one wanted item each: `hr@k`, `ndcg@k`, and `mrr`.

    Args:
        ranks: What `positions` gives, `[rows]`.
        cuts: The numbers k.

    Example:
        >>> ranking_figures(np.array([1.0, 3.0]), cuts=[2])
        {'hr@2': 0.5, 'ndcg@2': 0.5, 'mrr': 0.6666666666666666, 'rows': 2}
    """
    made: Figures = {}
    for k in cuts:
        hit = ranks <= k
        made[f"hr@{k}"] = float(hit.mean())
        made[f"ndcg@{k}"] = float(np.where(hit, 1 / np.log2(1 + ranks), 0).mean())
    return {**made, "mrr": float((1 / ranks).mean()), "rows": len(ranks)}


def grouped_ndcg(
    labels: Labels, scores: Scores, groups: npt.NDArray[np.integer], k: int = 10
) -> float | None:
    """Mean NDCG@k of the groups (users, requests) over their own rows, gain = label.

    Groups without a positive are left out, and so are rows of group -1. Rows of one score come
    in file order: give scores that differ.

    Example:
        >>> grouped_ndcg(np.array([0, 1]), np.array([0.2, 0.9]), np.array([0, 0]))
        1.0
    """
    inside = groups >= 0
    frame = pd.DataFrame({"group": groups, "gain": labels, "score": scores})[inside]
    if frame.empty:
        return None
    reached = _discounted(frame.sort_values("score", ascending=False, kind="stable"), k)
    best = _discounted(frame.sort_values("gain", ascending=False, kind="stable"), k)
    some = best > 0
    return float((reached[some] / best[some]).mean()) if some.any() else None


def _discounted(frame: pd.DataFrame, k: int) -> pd.Series:
    place = frame.groupby("group").cumcount()
    discount = np.where(place < k, 1 / np.log2(place + 2), 0)
    return (frame["gain"] * discount).groupby(frame["group"]).sum()
