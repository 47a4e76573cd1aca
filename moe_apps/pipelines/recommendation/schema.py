"""What the columns of interaction data mean: fields, tasks, ids, time, domain, treatment.

Read from YAML by `load_schema`; `moe-apps inspect recommendation PATH` drafts one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from moe_apps.errors import ConfigError
from moe_apps.pipelines.config import Settings, load_config
from moe_apps.pipelines.recommendation.fields import (
    MISSING,
    UNKNOWN,
    CategoricalField,
    DenseField,
    SequenceField,
    default_dimension,
)
from moe_apps.pipelines.recommendation.rules import LabelRule

__all__ = [
    "MISSING",
    "UNKNOWN",
    "CategoricalField",
    "CsvFormat",
    "DenseField",
    "Schema",
    "SequenceField",
    "Task",
    "Treatment",
    "default_dimension",
    "load_schema",
]


class Task(Settings):
    """One thing to predict.

    Attributes:
        name: Name of the model's output: a Python name.
        label: Column of numbers (0 and 1 for `binary`), or a rule such as `rating >= 4`,
            `income == high`, `action in [buy, order]`. A missing label leaves the row out of
            this task.
        kind: `binary` or `regression`.
        loss: By default binary_crossentropy or mean_squared_error.
        weight: Factor of its loss.
        mask: Column of 0 and 1: rows with 0 (or missing) are left out of this task.
        group: Tasks of one group share experts in HoME; by default all are in one.
        metric: What the model is judged by: by default auc, or rmse for regression.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z_]\w*$")
    label: str = Field(min_length=1)
    kind: Literal["binary", "regression"] = "binary"
    loss: Literal["binary_crossentropy", "mean_squared_error", "mean_absolute_error", "huber"] = (
        "binary_crossentropy"
    )
    weight: float = Field(default=1.0, ge=0)
    mask: str | None = None
    group: str = "all"
    metric: Literal["auc", "gauc", "log_loss", "ndcg", "rmse", "mae"] = "auc"

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "regression":
            return {"loss": "mean_squared_error", "metric": "rmse", **values}
        return values

    @field_validator("label")
    @classmethod
    def _label_rule(cls, label: str) -> str:
        LabelRule.parse(label)
        return label

    @model_validator(mode="after")
    def _fits_kind(self) -> Task:
        binary = self.kind == "binary"
        if binary != (self.loss == "binary_crossentropy"):
            raise ValueError(f"task {self.name}: loss {self.loss} does not fit kind {self.kind}")
        if binary == (self.metric in ("rmse", "mae")):
            raise ValueError(
                f"task {self.name}: metric {self.metric} does not fit kind {self.kind}"
            )
        return self

    @property
    def rule(self) -> LabelRule:
        """The label as column and comparison."""
        return LabelRule.parse(self.label)


class Treatment(Settings):
    """Which treatment a row got, for uplift; it is an input of uplift models only.

    Attributes:
        column: Column of the file.
        control: Its value that says "no treatment".
    """

    column: str
    control: str


class CsvFormat(Settings):
    """How text files are written; Parquet needs none of it.

    Attributes:
        separator: Between two values of a row.
        columns: Names of all columns, for files without a header.
        missing: Texts that mean "missing", beside an empty cell.
        strip: Take blanks around texts away.
    """

    separator: str = ","
    columns: list[str] | None = None
    missing: tuple[str, ...] = ("NA", "NaN", "nan", "null", "None")
    strip: bool = True


FieldOfSchema = Annotated[
    DenseField | CategoricalField | SequenceField, Field(discriminator="kind")
]


class Schema(Settings):
    """All that a model is told about its data.

    Attributes:
        fields: Inputs of the model.
        tasks: Outputs of the model.
        user: Column of user ids; needed by GAUC, splits by user, rankings and histories.
        item: Column of item ids; needed by rankings and negative sampling.
        time: Column of time: numbers, or dates.
        domain: Column of the scenario or domain that a row belongs to.
        treatment: For uplift.
        csv: How text files are written.

    Example:
        >>> schema = Schema(
        ...     fields=[{"name": "age", "kind": "dense"}, {"name": "film", "kind": "categorical"}],
        ...     tasks=[{"name": "like", "label": "rating >= 4"}],
        ...     user="user_id",
        ... )
        >>> schema.columns()
        ['age', 'film', 'rating', 'user_id']
    """

    fields: list[FieldOfSchema] = Field(min_length=1)
    tasks: list[Task] = Field(min_length=1)
    user: str | None = None
    item: str | None = None
    time: str | None = None
    domain: str | None = None
    treatment: Treatment | None = None
    csv: CsvFormat = CsvFormat()

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        names = [one.name for one in (*self.fields, *self.tasks)]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"names must differ, found twice: {', '.join(sorted(twice))}")
        labels = {task.rule.column: task.name for task in self.tasks}
        categorical = [field.name for field in self.categorical]
        for field in self.fields:
            if field.column in labels:
                raise ValueError(
                    f"field {field.name}: column {field.column} is the label of task "
                    f"{labels[field.column]}, and would give the answer away"
                )
            if isinstance(field, SequenceField):
                self._check_sequence(field, categorical)
        return self

    def _check_sequence(self, field: SequenceField, categorical: list[str]) -> None:
        if field.of not in categorical:
            known = ", ".join(categorical) or "none"
            raise ValueError(
                f"field {field.name}: of must name a categorical field ({known}), found {field.of}"
            )
        if field.history_of is None:
            return
        if field.history_of not in (task.name for task in self.tasks):
            raise ValueError(f"field {field.name}: history_of names no task: {field.history_of}")
        if not (self.user and self.time):
            raise ValueError(f"field {field.name}: history_of needs user and time")

    @property
    def dense(self) -> list[DenseField]:
        """The numbers among the fields."""
        return [field for field in self.fields if isinstance(field, DenseField)]

    @property
    def categorical(self) -> list[CategoricalField]:
        """The categories among the fields."""
        return [field for field in self.fields if isinstance(field, CategoricalField)]

    @property
    def sequences(self) -> list[SequenceField]:
        """The sequences among the fields."""
        return [field for field in self.fields if isinstance(field, SequenceField)]

    def field(self, name: str) -> DenseField | CategoricalField | SequenceField:
        """The field of a name; raises `KeyError` when there is none."""
        return {field.name: field for field in self.fields}[name]

    def task(self, name: str) -> Task:
        """The task of a name; raises `KeyError` when there is none."""
        return {task.name: task for task in self.tasks}[name]

    def columns(self, labels: bool = True) -> list[str]:
        """Columns a file has to have, each once; without `labels` those that `predict` needs:
        neither labels and treatment, nor time and domain."""
        return list(dict.fromkeys(self._columns(labels)))

    def _columns(self, labels: bool) -> Iterator[str]:
        for field in self.fields:
            if not (isinstance(field, SequenceField) and field.history_of):
                yield field.column
        if labels:
            for task in self.tasks:
                yield task.rule.column
                yield from filter(None, [task.mask])
        yield from filter(None, [self.user, self.item])
        if labels:
            yield from filter(None, [self.time, self.domain])
        if labels and self.treatment:
            yield self.treatment.column


def load_schema(path: Path, overrides: Sequence[str] = ()) -> Schema:
    """Read a schema from YAML, by the safe loader.

    Raises:
        ConfigError: One line: which entry, what was found, what is allowed.

    Example:
        >>> load_schema(Path("schema.yaml")).tasks[0].name  # doctest: +SKIP
        'click'
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such schema file; `moe-apps inspect` drafts one")
    return load_config(Schema, path, overrides)
