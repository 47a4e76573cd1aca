"""Fields of a schema: the inputs of a model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import Settings

MISSING, UNKNOWN = 0, 1
"""Index of a missing value (and of padding), and of an unseen or out-of-range one."""

Group = Literal["user", "item", "context"]


class _Column(Settings):
    name: str = Field(min_length=1, pattern=r"^[A-Za-z_]\w*$")
    column: str = ""
    group: Group | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_column(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("column") and "name" in values:
            return {**values, "column": values["name"]}
        return values


class DenseField(_Column):
    """A number; the model standardises it by its training mean and deviation, missing is 0 then.

    Attributes:
        name: Name of the model's input: a Python name.
        column: Column of the file; by default `name`.
        group: Whose property it is: user, item or context.
        transform: Applied first: `log1p` is sign(x) log(1 + |x|), for amounts and counts.
    """

    kind: Literal["dense"] = "dense"
    transform: Literal["none", "log1p"] = "none"


class CategoricalField(_Column):
    """A category, which the model looks up in a table of vectors.

    Index 0 is a missing value. With `vocabulary` and `integer` index 1 is one that training did
    not know, and values start at 2; with `hashed` values start at 1 and nothing is unknown.

    Attributes:
        name: Name of the model's input: a Python name.
        column: Column of the file; by default `name`.
        group: Whose property it is: user, item or context.
        type: `string`, or `int` for whole numbers of at least 0.
        encoding: `vocabulary` (the values of the training rows), `hashed` (into `size` buckets,
            which bounds memory however many values there are), or `integer` (the values 0 to
            `size` - 1 themselves).
        size: Buckets of `hashed`, values of `integer`, or the most values of a vocabulary (the
            frequent ones stay).
        min_count: Training rows a value needs to enter the vocabulary.
        dimension: Length of its vector; None takes `default_dimension`.
        separator: The column holds lists (texts with this between two values, or Parquet lists);
            the first value is taken, and a sequence field `of` this one may have them all.
    """

    kind: Literal["categorical"] = "categorical"
    type: Literal["string", "int"] = "string"
    encoding: Literal["vocabulary", "hashed", "integer"] = "vocabulary"
    size: int | None = Field(default=None, ge=1, le=2**31 - 3)
    min_count: int = Field(default=1, ge=1)
    dimension: int | None = Field(default=None, ge=1, le=4096)
    separator: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _size_of_encoding(self) -> CategoricalField:
        if self.encoding != "vocabulary" and self.size is None:
            raise ValueError(f"field {self.name}: encoding {self.encoding} needs a size")
        if self.encoding == "integer" and self.type != "int":
            raise ValueError(f"field {self.name}: encoding integer needs type int")
        return self

    @property
    def reserved(self) -> int:
        """Indices before the first value: missing, and unknown unless hashed."""
        return 1 if self.encoding == "hashed" else 2

    def table_size(self, vocabulary: int = 0) -> int:
        """Rows of its embedding table, given the number of values of a learned vocabulary."""
        values = vocabulary if self.encoding == "vocabulary" else self.size
        return self.reserved + (values or 0)


class SequenceField(_Column):
    """A list of values of a categorical field, oldest first, such as the items a user took.

    It uses that field's table. Kept are the last `max_length`; shorter ones are padded behind.

    Attributes:
        name: Name of the model's input: a Python name.
        column: Column of the file; by default `name`. Not used with `history_of`.
        group: Whose property it is: user, item or context.
        of: Name of the categorical field.
        max_length: Most values kept.
        separator: Text between two values in the file; Parquet lists need none.
        history_of: Name of a task: the sequence is not in the file, but made of the user's
            earlier rows with that label above 0 (see `histories.add_histories`).
    """

    kind: Literal["sequence"] = "sequence"
    of: str
    max_length: int = Field(default=20, ge=1, le=10_000)
    separator: str = Field(default="|", min_length=1)
    history_of: str | None = None


def default_dimension(values: int) -> int:
    """Length of a vector for so many values: 1.6 n^0.56, from 2 up to 32.

    Example:
        >>> [default_dimension(n) for n in (2, 10, 1000, 10**6)]
        [2, 6, 32, 32]
    """
    return int(min(32, max(2, round(1.6 * values**0.56))))
