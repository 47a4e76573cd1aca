"""What all ranking models share: fields in, one tower and one output a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import keras
from keras import ops

from moe_apps.models.recommendation.crossing import FeatureCrossing
from moe_apps.models.recommendation.field_embedding import FieldEmbedding, Fields


@dataclass(frozen=True)
class TaskSpec:
    """One output of a model.

    Attributes:
        name: name of the output.
        kind: `binary` (the output is a logit) or `regression`.
        group: tasks of one group share experts in HoME.
    """

    name: str
    kind: Literal["binary", "regression"] = "binary"
    group: str = "all"


class Tower(keras.layers.Layer):
    """A task's own network: hidden ReLU layers, dropout, and one float32 output `(batch,)`.

    Args:
        units: widths of the hidden layers.
        dropout: share of hidden values dropped in training. Default 0.
        output_bias: whether the output has a bias. Default True.
    """

    def __init__(
        self,
        units: Sequence[int] = (),
        dropout: float = 0.0,
        output_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        self.output_bias = output_bias
        self.hidden = [
            keras.layers.Dense(
                width, activation="relu", dtype=self.dtype_policy, name=f"hidden_{number}"
            )
            for number, width in enumerate(self.units)
        ]
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.output_layer = keras.layers.Dense(
            1, use_bias=output_bias, dtype="float32", name="output"
        )

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        for layer in self.hidden:
            layer.build((None, width))
            width = layer.units
        self.output_layer.build((None, width))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        for layer in self.hidden:
            x = self.drop(layer(x), training=training)
        return ops.squeeze(self.output_layer(x), axis=-1)

    def get_config(self) -> dict[str, Any]:
        own = ("units", "dropout", "output_bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class Ranker(keras.Model):
    """A model of several tasks over the fields of a row.

    `x = embedding of the fields` (crossed, where asked for), `h_t = body(x)_t`,
    `output_t = tower_t(h_t)`. A subclass gives the body by `body_outputs`.

    Args:
        fields: a `Fields`, or its config.
        tasks: a `TaskSpec` (or a mapping of its attributes) for each output.
        tower_units: hidden widths of each task's tower. Default (32,).
        dropout: dropout of the embedding and of the towers' hidden layers. Default 0.
        crossing: cross layers on the embedding before the body (needs keras-rs). Default 0.
        embedding_scale: deviation of the vectors at first.

    Inputs of a call: dict of what `fields.inputs()` names.
    Outputs: dict by task, float32 `(batch,)`: logits for binary tasks, numbers otherwise.
    """

    from_logits = True
    """Whether outputs of binary tasks are logits; a class attribute."""

    extra_inputs: tuple[str, ...] = ()
    """Inputs that training gives beside the fields; a class attribute."""

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        tower_units: Sequence[int] = (32,),
        dropout: float = 0.0,
        crossing: int = 0,
        embedding_scale: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # indices and numbers come as they are; the layers cast
        self.fields = fields if isinstance(fields, Fields) else Fields.from_config(fields)
        self.tasks = tuple(
            task if isinstance(task, TaskSpec) else TaskSpec(**task) for task in tasks
        )
        self.tower_units = tuple(tower_units)
        self.dropout = dropout
        self.crossing = crossing
        self.embedding_scale = embedding_scale
        self.embedding = FieldEmbedding(
            self.fields, embedding_scale, dtype=self.dtype_policy, name="embedding"
        )
        self.embedding.build()
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.cross = (
            FeatureCrossing(crossing, dtype=self.dtype_policy, name="crossing")
            if crossing
            else None
        )
        if self.cross is not None:
            self.cross.build((None, self.embedding.width))

    def add_towers(self, width: int | Mapping[str, int]) -> None:
        """Make each task's tower, on features of `width`; the last step of a subclass's init."""
        self.towers = {
            task.name: Tower(
                self.tower_units, self.dropout, dtype=self.dtype_policy, name=f"tower_{task.name}"
            )
            for task in self.tasks
        }
        for name, tower in self.towers.items():
            tower.build((None, width if isinstance(width, int) else width[name]))
        self.built = True

    @property
    def task_names(self) -> list[str]:
        """Names of the outputs."""
        return [task.name for task in self.tasks]

    def features(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """What the body reads, `(batch, width)`."""
        x = self.embedding(inputs)
        if self.cross is not None:
            x = self.cross(x)
        return self.drop(x, training=training)

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Features of each task, and weights of its gates by name `(batch, experts)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `body_outputs`.")

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        return self.explain(inputs, training=training)[0]

    def explain(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs as `call` gives them, and the weights of each gate `(batch, experts)`."""
        hidden, gates = self.body_outputs(self.features(inputs, training), training)
        outputs = {
            name: tower(hidden[name], training=training) for name, tower in self.towers.items()
        }
        return outputs, {name: ops.cast(w, "float32") for name, w in gates.items()}

    def answers(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs as people read them: probabilities for binary tasks."""
        return {
            task.name: (
                ops.sigmoid(outputs[task.name])
                if task.kind == "binary" and self.from_logits
                else outputs[task.name]
            )
            for task in self.tasks
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fields": self.fields.config(),
            "tasks": [asdict(task) for task in self.tasks],
            "tower_units": self.tower_units,
            "dropout": self.dropout,
            "crossing": self.crossing,
            "embedding_scale": self.embedding_scale,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }
