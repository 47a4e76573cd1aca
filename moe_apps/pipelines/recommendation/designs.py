"""Columns as matrices for classical models: one-hot and sparse, or narrow with target means."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse

from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import MISSING, Schema
from moe_apps.pipelines.recommendation.table import Table

FEW_VALUES = 255
"""Categories of at most so many values enter a boosted tree as they are."""

FOLDS = 5
PRIOR_ROWS = 20.0
"""A category's mean label counts as if it also had so many rows of the overall mean."""

FloatArray = npt.NDArray[np.floating]


class OneHot:
    """Rows as sparse vectors: a 1 for every category, standardised numbers, shares of sequences.

    A number that is missing is 0 and has a 1 of its own; a sequence is the share of each of its
    values, in columns of its own.

    Args:
        train: Rows that vocabularies and scales are learned from.
        schema: What the columns mean.

    Example:
        >>> schema = Schema(
        ...     fields=[{"name": "film", "kind": "categorical"}],
        ...     tasks=[{"name": "like", "label": "like"}],
        ... )
        >>> from moe_apps.pipelines.recommendation.table import Codes
        >>> table = Table({"film": Codes.of(np.array(["a", "b"], object))})
        >>> OneHot(table, schema)(table).toarray()  # missing, unknown, a, b
        array([[0., 0., 1., 0.],
               [0., 0., 0., 1.]], dtype=float32)
    """

    def __init__(self, train: Table, schema: Schema) -> None:
        self.preprocessing = Preprocessing.of(learn([train], schema))
        self.sizes = {one.name: one.size for one in self.preprocessing.fields().categorical}

    def __call__(self, table: Table) -> sparse.csr_matrix:
        """The rows of a table, float32 `[rows, width]`."""
        inputs = self.preprocessing.inputs(table)
        schema = self.preprocessing.schema
        parts = [
            _counted(inputs["categorical"][:, [place]], self.sizes[one.name])
            for place, one in enumerate(schema.categorical)
        ]
        for one in schema.sequences:
            counts = _counted(inputs[f"sequence_{one.name}"], self.sizes[one.of])
            counts.data[counts.indices == MISSING] = 0  # padding
            total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
            parts.append(sparse.diags((1 / total).astype(np.float32)) @ counts)
        if schema.dense:
            gone = [np.isnan(table.numbers(one.name)) for one in schema.dense]
            parts += [
                sparse.csr_matrix(inputs["dense"]),
                sparse.csr_matrix(np.stack(gone, axis=1).astype(np.float32)),
            ]
        return sparse.hstack(parts, format="csr", dtype=np.float32)


def _counted(indices: npt.NDArray[np.integer], size: int) -> sparse.csr_matrix:
    rows, width = indices.shape
    ends = np.arange(0, rows * width + 1, width)
    ones = np.ones(rows * width, np.float32)
    made = sparse.csr_matrix((ones, indices.ravel().astype(np.int64), ends), shape=(rows, size))
    made.sum_duplicates()
    return made


class Narrow:
    """Rows as few numbers, for boosted trees on one task.

    Numbers as they are, missing as NaN; categories of up to 255 values as their index; of more, and
    the values of sequences, as their mean label (out of fold for training rows, so that a row's
    own label is not in it) and the logarithm of their rows.

    Args:
        train: Training rows.
        schema: What the columns mean.
        task: Name of the task whose labels are averaged.
        seed: Seed of the folds.
    """

    def __init__(self, train: Table, schema: Schema, task: str, seed: int = 0) -> None:
        self.preprocessing = Preprocessing.of(learn([train], schema))
        self.schema = self.preprocessing.schema
        sizes = {one.name: one.size for one in self.preprocessing.fields().categorical}
        self.few = [one.name for one in self.schema.categorical if sizes[one.name] <= FEW_VALUES]
        self.categorical = list(range(len(self.few)))
        label = train.labels[task].astype(np.float64)
        self._means = {
            one.name: TargetMeans(self._indices(train, one.name), label, sizes[one.name], seed)
            for one in self.schema.categorical
            if one.name not in self.few or any(s.of == one.name for s in self.schema.sequences)
        }

    def __call__(self, table: Table, training: bool = False) -> FloatArray:
        """The rows of a table, float64 `[rows, width]`; `training` for the rows learned from."""
        columns: list[Any] = [
            np.where((found := self._indices(table, name)) == MISSING, np.nan, found)
            for name in self.few
        ]
        columns += [table.numbers(one.name) for one in self.schema.dense]
        for one in self.schema.categorical:
            if one.name not in self.few:
                columns += self._means[one.name].columns(self._indices(table, one.name), training)
        inputs = self.preprocessing.inputs(table)
        for listed in self.schema.sequences:
            indices = inputs[f"sequence_{listed.name}"]
            there = indices != MISSING
            lengths = there.sum(axis=1)
            mean = np.where(there, self._means[listed.of].mean[indices], 0.0)
            last = mean[np.arange(len(mean)), np.maximum(lengths - 1, 0)]
            some = lengths > 0
            average = mean.sum(axis=1) / np.maximum(lengths, 1)
            columns += [lengths, np.where(some, average, np.nan), np.where(some, last, np.nan)]
        return np.column_stack(columns).astype(np.float64)

    def _indices(self, table: Table, name: str) -> npt.NDArray[np.integer]:
        place = [one.name for one in self.schema.categorical].index(name)
        return self.preprocessing.inputs(table)["categorical"][:, place]


class TargetMeans:
    """Mean label and number of rows of each category.

    Args:
        indices: Categories of the training rows, `[rows]`.
        label: Their labels, NaN for none.
        size: Categories.
        seed: Seed of the folds.
    """

    def __init__(
        self, indices: npt.NDArray[np.integer], label: FloatArray, size: int, seed: int
    ) -> None:
        there = ~np.isnan(label)
        self.overall = float(label[there].mean()) if there.any() else 0.0
        fold = np.random.default_rng(seed).integers(FOLDS, size=len(label))
        cell = indices * FOLDS + fold
        rows = np.bincount(cell, there, size * FOLDS).reshape(size, FOLDS)
        sums = np.bincount(cell, np.where(there, label, 0), size * FOLDS).reshape(size, FOLDS)
        self.rows = rows.sum(axis=1)
        self.mean = self._smoothed(sums.sum(axis=1), self.rows)
        without = self._smoothed(sums.sum(axis=1, keepdims=True) - sums, self.rows[:, None] - rows)
        self._out_of_fold = without[indices, fold]

    def _smoothed(self, sums: FloatArray, rows: FloatArray) -> FloatArray:
        return (sums + PRIOR_ROWS * self.overall) / (rows + PRIOR_ROWS)

    def columns(self, indices: npt.NDArray[np.integer], training: bool) -> list[FloatArray]:
        """Mean label and logarithm of 1 + rows, each `[rows]`."""
        mean = self._out_of_fold if training else self.mean[indices]
        return [mean, np.log1p(self.rows[indices])]
