"""What a user did before, as vectors beside that of the candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.models.recommendation.field_embedding import FieldEmbedding, Fields


class Behaviour(keras.layers.Layer):
    """Vectors of the behaviours and of the candidate, by one and the same map.

    Behaviour j is the join of the sequences' vectors at position j, the candidate that of the
    fields whose tables the sequences use: `h = relu([...] W + b)`.

    Args:
        fields: the fields of a row.
        sequences: names of the sequences, of one length; None takes all of `fields`.
        units: length of the vectors.

    Call arguments:
        inputs: what a `FieldEmbedding` reads.
        embedding: that layer, built.

    Returns:
        h `(batch, length, units)`, t `(batch, units)`, and which positions are real
        `(batch, length)`: those of the first sequence.
    """

    def __init__(
        self, fields: Fields, sequences: Sequence[str] | None, units: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        known = {field.name: field for field in fields.sequences}
        names = list(known) if sequences is None else list(sequences)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(
                "`behaviour` must name sequence fields, and there must be one. "
                f"Received: {names}; sequences are {list(known)}"
            )
        if len({known[name].length for name in names}) > 1:
            raise ValueError(f"sequences of one behaviour must have one length: {names}")
        self.parts = [known[name] for name in names]
        self.units = units
        self.map = keras.layers.Dense(units, activation="relu", dtype=self.dtype_policy, name="map")

    def build_for(self, embedding: FieldEmbedding) -> None:
        """Make the weights for the vectors of `embedding`."""
        width = sum(embedding.sequence_dimensions[part.name] for part in self.parts)
        self.map.build((None, None, width))
        self.built = True

    def call(self, inputs: Mapping[str, Any], embedding: FieldEmbedding) -> tuple[Any, Any, Any]:
        found = [embedding.sequence(inputs, part) for part in self.parts]
        h = self.map(ops.concatenate([vectors for vectors, _ in found], axis=-1))
        candidate = [embedding.one(inputs, part.of) for part in self.parts]
        t = self.map(ops.concatenate(candidate, axis=-1)[:, None])[:, 0]
        return h, t, found[0][1]


def kept_at_random(mask: Any, probability: float, seed: Any) -> Any:
    """The mask with real positions dropped with this probability; one of each row stays.

    Args:
        mask: boolean `(batch, length)`.
        probability: of dropping.
        seed: a `SeedGenerator`, or a number.
    """
    draws = keras.random.uniform(ops.shape(mask), seed=seed)
    draws = ops.where(mask, draws, -1.0)
    largest = ops.equal(draws, ops.max(draws, axis=1, keepdims=True))
    return ops.logical_and(mask, ops.logical_or(draws >= probability, largest))
