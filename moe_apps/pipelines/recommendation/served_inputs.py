"""The same as `Preprocessing.inputs`, in TensorFlow's graph: raw texts and numbers in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import (
    UNKNOWN,
    CategoricalField,
    DenseField,
    SequenceField,
)


class RawInputs(tf.Module):
    """Turns raw values, by name of field, into the inputs of a model.

    A number is float32 `[rows]`, NaN for missing. A category is a text, "" for missing, or int64,
    negative for missing. A sequence is `[rows, any length]` of such, oldest first; gaps in it are
    closed and the last `max_length` are used. Blanks around texts do not count.

    Args:
        preprocessing: What training rows taught.

    Example:
        >>> from moe_apps.pipelines.recommendation.schema import Schema
        >>> schema = Schema(
        ...     fields=[{"name": "film", "kind": "categorical"}],
        ...     tasks=[{"name": "like", "label": "like"}],
        ... )
        >>> raw = RawInputs(Preprocessing(schema, {"film": np.array(["Alien"], object)}, {}))
        >>> raw({"film": tf.constant(["Alien", "Brazil", ""])})["categorical"].numpy().tolist()
        [[2], [1], [0]]
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.fields = {one.name: one for one in preprocessing.schema.categorical}
        self.tables = {
            name: _table(preprocessing.vocabularies[name], one)
            for name, one in self.fields.items()
            if one.encoding == "vocabulary"
        }

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Name, shape and dtype of each raw input."""
        specs = {}
        for one in self.preprocessing.schema.fields:
            shape: tuple[None, ...] = (None,)
            dtype = tf.float32
            if isinstance(one, CategoricalField):
                dtype = _dtype(one)
            elif isinstance(one, SequenceField):
                shape, dtype = (None, None), _dtype(self.fields[one.of])
            specs[one.name] = tf.TensorSpec(shape, dtype, name=one.name)
        return specs

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        schema = self.preprocessing.schema
        inputs = {}
        if self.fields:
            columns = [self._indices(one, raw[name]) for name, one in self.fields.items()]
            inputs["categorical"] = tf.stack(columns, axis=1)
        if schema.dense:
            columns = [self._standardised(one, raw[one.name]) for one in schema.dense]
            inputs["dense"] = tf.stack(columns, axis=1)
        for one in schema.sequences:
            indices = self._indices(self.fields[one.of], raw[one.name])
            inputs[f"sequence_{one.name}"] = _last_real(indices, one.max_length)
        return inputs

    def _standardised(self, one: DenseField, values: Any) -> Any:
        mean, deviation = self.preprocessing.scales[one.name]
        values = tf.cast(values, tf.float64)  # a small deviation on a large mean
        if one.transform == "log1p":
            values = tf.sign(values) * tf.math.log1p(tf.abs(values))
        scaled = (values - mean) / deviation
        return tf.cast(tf.where(tf.math.is_finite(scaled), scaled, 0.0), tf.float32)

    def _indices(self, one: CategoricalField, values: Any) -> Any:
        if one.type == "string":
            values = tf.strings.strip(values)
        missing = values == "" if one.type == "string" else values < 0
        if one.encoding == "hashed":
            texts = values if one.type == "string" else tf.strings.as_string(values)
            found = tf.strings.to_hash_bucket_fast(texts, one.size) + one.reserved
        elif one.encoding == "integer":
            found = tf.where(values < one.size, values + one.reserved, UNKNOWN)
        else:
            found = self.tables[one.name].lookup(values)
        return tf.cast(tf.where(missing, tf.zeros_like(found), found), tf.int32)


def _dtype(one: CategoricalField) -> tf.DType:
    return tf.string if one.type == "string" else tf.int64


def _table(values: Any, one: CategoricalField) -> tf.lookup.StaticHashTable:
    keys = tf.constant(values.tolist(), _dtype(one), (len(values),))
    indices = tf.range(one.reserved, one.reserved + len(values), dtype=tf.int64)
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, indices), default_value=UNKNOWN
    )


def _last_real(indices: Any, length: int) -> Any:
    """The last `length` indices that are not 0, in order, 0 behind them: `[rows, length]`."""
    indices = tf.pad(indices, [[0, 0], [0, length]])
    real = tf.cast(indices != 0, tf.int32)
    place = tf.cumsum(real, axis=1) - 1
    place -= tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True) - length, 0)
    used = (real > 0) & (place >= 0)
    order = tf.argsort(tf.where(used, place, tf.shape(indices)[1] + length), axis=1, stable=True)
    kept = tf.gather(tf.where(used, indices, 0), order[:, :length], batch_dims=1)
    return tf.ensure_shape(kept, (None, length))


def raw_of(preprocessing: Preprocessing, table: Any) -> dict[str, np.ndarray]:
    """Raw values of a table, as the signature takes them."""
    made = {}
    for one in preprocessing.schema.fields:
        column = table.columns[one.name]
        made[one.name] = column.astype(np.float32) if isinstance(one, DenseField) else column.raw()
    return made
