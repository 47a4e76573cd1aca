"""What a recommender has to beat: base rate, popularity, logistic regression, boosted trees."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation.designs import PRIOR_ROWS, Narrow, OneHot
from moe_apps.pipelines.recommendation.metrics import log_loss
from moe_apps.pipelines.recommendation.schema import Schema, Task
from moe_apps.pipelines.recommendation.table import Table

FloatArray = npt.NDArray[np.floating]
Predict = Callable[[Table], FloatArray]

STRENGTHS = (0.03, 0.2, 1.0)
"""Inverse penalties of logistic regression that validation rows choose from (scikit-learn's C)."""

PENALTIES = (1.0, 30.0, 1000.0)
"""Penalties of ridge regression, likewise."""

BOOSTING: dict[str, Any] = {
    "n_estimators": 1000,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 50,
    "subsample": 0.9,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "deterministic": True,
    "force_row_wise": True,
    "n_jobs": 1,  # threads that wait for one another stand still where others compute too
    "verbose": -1,
}
PATIENCE = 50


@dataclass(frozen=True)
class Baselines:
    """Fitted baselines: by name, a prediction for each task."""

    fitted: dict[str, dict[str, Predict]]

    def predict(self, table: Table) -> dict[str, dict[str, FloatArray]]:
        """By name and task, probabilities (or values in the label's unit) `[rows]`."""
        return {
            name: {task: predict(table) for task, predict in of_task.items()}
            for name, of_task in self.fitted.items()
        }


def fit_baselines(
    train: Table,
    validation: Table,
    schema: Schema,
    *,
    seed: int = 0,
    boosting: bool = True,
) -> Baselines:
    """Fit, a model for each task: `base rate`, `popularity` (where the schema names an item
    column), `logistic regression` (ridge for regression) and `LightGBM`.

    Args:
        train: Training rows.
        validation: Rows that choose the penalties and the number of trees.
        schema: What the columns mean.
        seed: Seed of the folds and of the trees.
        boosting: Whether to fit LightGBM.

    Raises:
        ConfigError: LightGBM is wanted and is not installed.

    Example:
        >>> from moe_apps.pipelines.recommendation.generator import generate
        >>> table, schema = generate(rows=400)
        >>> train, rest = table.take(slice(0, 300)), table.take(slice(300, 400))
        >>> list(fit_baselines(train, rest, schema, boosting=False).predict(rest))
        ['base rate', 'popularity', 'logistic regression']
    """
    if boosting and find_spec("lightgbm") is None:
        raise ConfigError(
            "evaluation.boosting=true: LightGBM is not installed; install it by "
            "pip install 'moe-apps[recommendation]', or set evaluation.boosting=false"
        )
    fitted: dict[str, dict[str, Predict]] = {"base rate": {}}
    if train.item is not None:
        fitted["popularity"] = {}
    fitted["logistic regression"] = {}
    if boosting:
        fitted["LightGBM"] = {}
    one_hot = OneHot(train, schema)
    parts = one_hot(train), one_hot(validation)
    for task in schema.tasks:
        own, checked = train.labels[task.name], validation.labels[task.name]
        fitted["base rate"][task.name] = _constant(float(np.nanmean(own)))
        if train.item is not None:
            fitted["popularity"][task.name] = popularity(train, task.name)
        linear = fit_linear(task, parts[0], own, parts[1], checked)
        fitted["logistic regression"][task.name] = _on(one_hot, linear)
        if boosting:
            fitted["LightGBM"][task.name] = fit_boosting(task, train, validation, schema, seed)
    return Baselines(fitted)


def _constant(value: float) -> Predict:
    return lambda table: np.full(len(table), value)


def _on(design: Callable[[Table], Any], predict: Callable[[Any], FloatArray]) -> Predict:
    return lambda table: predict(design(table))


def popularity(train: Table, task: str) -> Predict:
    """Mean label of the item over training rows, with 20 rows of the overall mean added to it.

    Example:
        >>> from moe_apps.pipelines.recommendation.table import Codes
        >>> film = Codes.of(np.array(["a", "a", "b"], object))
        >>> table = Table({"film": film}, {"like": np.float32([1, 1, 0])}, item=film)
        >>> popularity(table, "like")(table).round(2).tolist()
        [0.7, 0.7, 0.63]
    """
    assert train.item is not None
    label = train.labels[task].astype(np.float64)
    there = ~np.isnan(label) & train.item.present
    overall = float(np.nanmean(label))
    codes, count = train.item.codes[there], len(train.item.values)
    rows = np.bincount(codes, minlength=count)
    sums = np.bincount(codes, label[there], minlength=count)
    mean = (sums + PRIOR_ROWS * overall) / (rows + PRIOR_ROWS)
    of_item = dict(zip(train.item.values.tolist(), mean.tolist(), strict=True))

    def predict(table: Table) -> FloatArray:
        assert table.item is not None
        known = [of_item.get(value, overall) for value in table.item.values.tolist()]
        return np.array([*known, overall])[table.item.codes]

    return predict


def fit_linear(
    task: Task, x: Any, label: FloatArray, checked_x: Any, checked: FloatArray
) -> Callable[[Any], FloatArray]:
    """Logistic or ridge regression, the penalty chosen by log loss or error on `checked` rows.

    Args:
        task: Its kind decides.
        x: Training rows `[rows, width]`, sparse.
        label: Their labels; NaN rows are left out.
        checked_x: Validation rows.
        checked: Their labels.

    Returns:
        A function of such a matrix that gives probabilities or values.
    """
    x, label = _labelled(x, label)
    checked_x, checked = _labelled(checked_x, checked)
    if not len(np.unique(label)) > 1:
        value = float(label.mean()) if len(label) else 0.0
        return lambda rows: np.full(rows.shape[0], value)
    best, chosen = np.inf, None
    for strength in STRENGTHS if task.kind == "binary" else PENALTIES:
        predict = _linear(task, strength, x, label)
        error = 0.0
        if len(checked):
            answer = predict(checked_x)
            binary = task.kind == "binary"
            error = log_loss(checked, answer) if binary else np.square(answer - checked).mean()
        if chosen is None or error < best:
            best, chosen = error, predict
    assert chosen is not None
    return chosen


def _linear(task: Task, strength: float, x: Any, label: FloatArray) -> Callable[[Any], FloatArray]:
    if task.kind == "regression":
        return Ridge(alpha=strength, solver="lsqr").fit(x, label).predict
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # Ill-scaled columns reach the limit of iterations; the answer is judged as it stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, label > 0)
    return lambda rows: model.predict_proba(rows)[:, 1]


def _labelled(x: Any, label: FloatArray) -> tuple[Any, FloatArray]:
    there = ~np.isnan(label)
    return x[np.flatnonzero(there)], label[there].astype(np.float64)


def fit_boosting(
    task: Task, train: Table, validation: Table, schema: Schema, seed: int = 0
) -> Predict:
    """LightGBM with up to 1000 trees, stopped by 50 without a gain on validation rows."""
    import lightgbm

    design = Narrow(train, schema, task.name, seed)
    x, label = _labelled(design(train, training=True), train.labels[task.name])
    checked_x, checked = _labelled(design(validation), validation.labels[task.name])
    if len(np.unique(label)) < 2 or not len(checked):
        return _constant(float(label.mean()) if len(label) else 0.0)
    binary = task.kind == "binary"
    made: Any = lightgbm.LGBMClassifier if binary else lightgbm.LGBMRegressor
    model = made(**BOOSTING, random_state=seed)
    model.fit(
        x,
        label,
        eval_X=checked_x,
        eval_y=checked,
        eval_metric="binary_logloss" if binary else "l2",
        categorical_feature=design.categorical,
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    if not binary:
        return lambda table: model.predict(design(table))
    return lambda table: model.predict_proba(design(table))[:, 1]
