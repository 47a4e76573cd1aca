"""From a row's fields to the vectors that a ranking model works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class Categorical:
    """A category, given as its row in a table of vectors.

    Attributes:
        name: name of the field.
        size: rows of its table; row 0 is a missing value, or padding of a sequence.
        dimension: length of its vector.
    """

    name: str
    size: int
    dimension: int


@dataclass(frozen=True)
class History:
    """A list of values of a categorical field, whose table it uses.

    Attributes:
        name: name of the field; the model's input is called `sequence_<name>`.
        of: name of the categorical field.
        length: positions; padding has index 0.
    """

    name: str
    of: str
    length: int

    @property
    def input(self) -> str:
        """Name of the model's input."""
        return f"sequence_{self.name}"


@dataclass(frozen=True)
class Fields:
    """What a row consists of, in the order of the model's packed inputs.

    Attributes:
        dense: names of the numbers, packed as `dense` `(batch, number of them)`.
        categorical: packed as `categorical` `(batch, number of them)`.
        sequences: each an input of its own, `(batch, length)`.

    Example:
        >>> fields = Fields(("age",), (Categorical("film", 9, 4),), (History("seen", "film", 5),))
        >>> Fields.from_config(fields.config()) == fields
        True
    """

    dense: tuple[str, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    sequences: tuple[History, ...] = ()

    def config(self) -> dict[str, Any]:
        """The fields as plain mappings and lists."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Fields:
        """The fields of what `config` gave."""
        return cls(
            tuple(config["dense"]),
            tuple(Categorical(**field) for field in config["categorical"]),
            tuple(History(**field) for field in config["sequences"]),
        )

    def index(self, name: str) -> int:
        """Place of a categorical field among them."""
        return [field.name for field in self.categorical].index(name)

    def inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape (without the batch) and dtype of the model's inputs, by name."""
        packed: dict[str, tuple[tuple[int, ...], str]] = {}
        if self.categorical:
            packed["categorical"] = ((len(self.categorical),), "int32")
        if self.dense:
            packed["dense"] = ((len(self.dense),), "float32")
        return packed | {field.input: ((field.length,), "int32") for field in self.sequences}


class FieldEmbedding(keras.layers.Layer):
    """Looks up the categories, and puts them beside the numbers.

    Fields whose vectors have one length share one table (with rows of their own), so that a
    batch needs one look-up a length.

    Args:
        fields: a `Fields`, or its config.
        scale: deviation of the vectors at first. Default 0.05.

    Call arguments:
        inputs: dict of the inputs that `fields.inputs()` names.

    Returns:
        `(batch, width)`: vectors of the categories, the mean vector of each sequence (0 for an
        empty one), and the numbers.

    Example:
        >>> fields = Fields(("age",), (Categorical("film", 9, 4),), (History("seen", "film", 5),))
        >>> layer = FieldEmbedding(fields)
        >>> rows = {
        ...     "categorical": ops.ones((2, 1), "int32"),
        ...     "dense": ops.zeros((2, 1)),
        ...     "sequence_seen": ops.zeros((2, 5), "int32"),
        ... }
        >>> tuple(layer(rows).shape)
        (2, 9)
    """

    def __init__(
        self, fields: Fields | Mapping[str, Any], scale: float = 0.05, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fields = fields if isinstance(fields, Fields) else Fields.from_config(fields)
        self.scale = scale
        self.groups: dict[int, list[int]] = {}
        for place, field in enumerate(self.fields.categorical):
            self.groups.setdefault(field.dimension, []).append(place)
        self.starts: dict[str, int] = {}  # first row of each field in its length's table
        self.rows: dict[int, int] = {}
        for dimension, places in self.groups.items():
            start = 0
            for place in places:
                self.starts[self.fields.categorical[place].name] = start
                start += self.fields.categorical[place].size
            self.rows[dimension] = start
        of_field = {field.name: field.dimension for field in self.fields.categorical}
        self.sequence_dimensions = {f.name: of_field[f.of] for f in self.fields.sequences}
        self.width = (
            sum(of_field.values()) + sum(self.sequence_dimensions.values()) + len(self.fields.dense)
        )

    def build(self, input_shape: Any = None) -> None:
        initializer = keras.initializers.RandomNormal(stddev=self.scale)
        self.tables = {
            dimension: self.add_weight(
                name=f"table_{dimension}", shape=(rows, dimension), initializer=initializer.clone()
            )
            for dimension, rows in self.rows.items()
        }
        self.built = True

    def call(self, inputs: Mapping[str, Any]) -> Any:
        parts = [ops.reshape(v, (-1, v.shape[1] * v.shape[2])) for v in self.by_length(inputs)]
        for field in self.fields.sequences:
            vectors, mask = self.sequence(inputs, field)
            parts.append(mean_of_sequence(vectors, mask))
        if self.fields.dense:
            parts.append(ops.cast(inputs["dense"], self.compute_dtype))
        return ops.concatenate(parts, axis=-1)

    def by_length(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Vectors of the categorical fields, `(batch, fields, dimension)` for each length."""
        found = []
        for dimension, places in self.groups.items():
            starts = [self.starts[self.fields.categorical[place].name] for place in places]
            indices = ops.take(inputs["categorical"], ops.convert_to_tensor(places), axis=1)
            indices = indices + ops.convert_to_tensor(starts, "int32")
            found.append(self._look_up(dimension, indices))
        return found

    def one(self, inputs: Mapping[str, Any], name: str) -> Any:
        """Vectors of one categorical field, `(batch, dimension)`."""
        place = self.fields.index(name)
        indices = inputs["categorical"][:, place] + self.starts[name]
        return self._look_up(self.fields.categorical[place].dimension, indices)

    def sequence(self, inputs: Mapping[str, Any], field: History) -> tuple[Any, Any]:
        """Vectors of a sequence `(batch, length, dimension)`, and where they are real."""
        indices = inputs[field.input]
        vectors = self._look_up(
            self.sequence_dimensions[field.name], indices + self.starts[field.of]
        )
        return vectors, ops.not_equal(indices, 0)

    def _look_up(self, dimension: int, indices: Any) -> Any:
        return ops.cast(ops.take(self.tables[dimension], indices, axis=0), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fields": self.fields.config(), "scale": self.scale}


class FieldTokens(keras.layers.Layer):
    """One vector of the same length for every field: `(batch, fields, dimension)`.

    Categories and the means of sequences pass a linear map for each of their lengths; the number
    x of a field f becomes `x w_f + b_f`.

    Args:
        dimension: length of the vectors.

    Call arguments:
        inputs: what a `FieldEmbedding` reads.
        embedding: that layer, built.
    """

    def __init__(self, dimension: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimension = dimension

    def build_for(self, embedding: FieldEmbedding) -> None:
        """Make the weights for the fields of `embedding`."""
        self.maps = {
            length: self.add_weight(name=f"map_{length}", shape=(length, self.dimension))
            for length in sorted({*embedding.groups, *embedding.sequence_dimensions.values()})
        }
        numbers = len(embedding.fields.dense)
        if numbers:
            self.slope = self.add_weight(name="slope", shape=(numbers, self.dimension))
            self.offset = self.add_weight(
                name="offset", shape=(numbers, self.dimension), initializer="zeros"
            )
        self.built = True

    def call(self, inputs: Mapping[str, Any], embedding: FieldEmbedding) -> Any:
        tokens = [
            ops.matmul(vectors, self.maps[length])
            for length, vectors in zip(embedding.groups, embedding.by_length(inputs), strict=True)
        ]
        for field in embedding.fields.sequences:
            mean = mean_of_sequence(*embedding.sequence(inputs, field))
            tokens.append(ops.matmul(mean, self.maps[mean.shape[-1]])[:, None])
        if embedding.fields.dense:
            numbers = ops.cast(inputs["dense"], self.compute_dtype)
            tokens.append(numbers[..., None] * self.slope + self.offset)
        return ops.concatenate(tokens, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dimension": self.dimension}


def mean_of_sequence(vectors: Any, mask: Any) -> Any:
    """Mean over the real positions: `(batch, length, d)` and `(batch, length)` to `(batch, d)`."""
    real = ops.cast(mask, vectors.dtype)[..., None]
    return ops.sum(vectors * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1.0)
