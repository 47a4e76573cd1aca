"""Effects of treatments by classical means: one model an arm, and a random order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.recommendation.baselines import fit_boosting, fit_linear
from moe_apps.pipelines.recommendation.designs import OneHot
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table

FloatArray = npt.NDArray[np.floating]

CHECKED_SHARE = 0.2
"""Share of an arm's training rows that choose the penalty."""


def uplift_effects(
    train: Table,
    test: Table,
    schema: Schema,
    treatments: tuple[str, ...],
    *,
    seed: int = 0,
    boosting: bool = False,
) -> dict[str, dict[str, FloatArray]]:
    """Predicted effects, by name and task, `[test rows, treatments - 1]`.

    `T-learner logistic` (Kuenzel et al. 2019, "Metalearners for estimating heterogeneous treatment
    effects") fits a logistic regression (ridge for regression) on each arm and takes the
    difference from the control's; `random` is a random order.

    Args:
        train: Training rows, with treatment.
        test: Rows to answer for.
        schema: What the columns mean.
        treatments: Names of treatments, the control first.
        seed: Seed of the random order, and of the rows that choose penalties.
        boosting: Whether `T-learner LightGBM` is fitted too.
    """
    assert train.treatment is not None
    arm = np.array([*train.treatment.values, ""], object)[train.treatment.codes]
    one_hot = OneHot(train, schema)
    x, asked = one_hot(train), one_hot(test)
    random = np.random.default_rng(seed)
    checked = random.random(len(train)) < CHECKED_SHARE
    names = ["T-learner logistic", *(["T-learner LightGBM"] if boosting else []), "random"]
    made: dict[str, dict[str, FloatArray]] = {name: {} for name in names}
    for task in schema.tasks:
        label = train.labels[task.name]
        linear, trees = [], []
        for name in treatments:
            rows = np.flatnonzero((arm == name) & ~checked)
            back = np.flatnonzero((arm == name) & checked)
            linear.append(fit_linear(task, x[rows], label[rows], x[back], label[back])(asked))
            if boosting:
                tables = train.take(rows), train.take(back)
                trees.append(fit_boosting(task, *tables, schema, seed)(test))
        for name, answers in (("T-learner logistic", linear), ("T-learner LightGBM", trees)):
            if answers:
                made[name][task.name] = np.stack(answers[1:], axis=1) - answers[0][:, None]
        made["random"][task.name] = random.random((len(test), len(treatments) - 1))
    return made
