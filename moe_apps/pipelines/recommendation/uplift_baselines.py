"""Effects of treatments by classical means: one model an arm, and a random order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.recommendation.baselines import fit_linear
from moe_apps.pipelines.recommendation.designs import OneHot
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table

FloatArray = npt.NDArray[np.floating]

CHECKED_SHARE = 0.2
"""Share of an arm's training rows that choose the penalty."""


def uplift_effects(
    train: Table, test: Table, schema: Schema, treatments: tuple[str, ...], *, seed: int = 0
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
    """
    assert train.treatment is not None
    arm = np.array([*train.treatment.values, ""], object)[train.treatment.codes]
    one_hot = OneHot(train, schema)
    x, asked = one_hot(train), one_hot(test)
    random = np.random.default_rng(seed)
    checked = random.random(len(train)) < CHECKED_SHARE
    made: dict[str, dict[str, FloatArray]] = {"T-learner logistic": {}, "random": {}}
    for task in schema.tasks:
        label = train.labels[task.name]
        answers = []
        for name in treatments:
            rows, kept_back = np.flatnonzero((arm == name) & ~checked), (arm == name) & checked
            back = np.flatnonzero(kept_back)
            predict = fit_linear(task, x[rows], label[rows], x[back], label[back])
            answers.append(predict(asked))
        effects = [answer - answers[0] for answer in answers[1:]]
        made["T-learner logistic"][task.name] = np.stack(effects, axis=1)
        made["random"][task.name] = random.random((len(test), len(treatments) - 1))
    return made
