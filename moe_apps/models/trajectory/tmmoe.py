"""TMMOE: a temporal convolutional network, experts with a gate for each task, three heads."""

from __future__ import annotations

from typing import Any

import keras

from moe_apps.models.trajectory.presets import TMMOE_PRESETS
from moe_apps.models.trajectory.task_experts import TaskExperts
from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.models.trajectory.tcn import TCN, levels_for
from moe_apps.models.trajectory.trajectory_model import TrajectoryModel


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TMMOEEncoder(keras.layers.Layer):
    """The shared layer and the expert layer of TMMOE.

    A `TCN` reads the history; its last step (or all of it, for recurrent and convolutional
    experts) goes to `TaskExperts`, with a linear map of the whole history added, which spares the
    convolutions what is linear in it.

    Source: Yuan, Abdel-Aty, Xiang, Wang & Zheng 2023, "A Novel Temporal Multi-Gate
    Mixture-of-Experts Approach for Vehicle Trajectory and Driving Intention Prediction",
    arXiv 2308.00533. Sizes, and what its experts are made of, are our reading of the abstract.

    Args:
        channels: width of the TCN.
        gate, experts, num_experts, expert_dim, gate_dropout: see `TaskExperts`.
        levels: blocks of the TCN; None for the fewest that see the whole history.
        kernel_size: taps of its convolutions. Default 3.
        dropout: in the TCN. Default 0.1.
        seed: of all dropout.

    Call arguments:
        features: `(batch, time, n)`, time known.
        context: `(batch, m)` for the gates, or None.

    Returns:
        Task name -> `(batch, expert_dim)`, and the gates' weights `(batch, 3, experts)`.

    Example:
        >>> answers, gates = TMMOEEncoder(channels=8, expert_dim=4)(keras.random.normal((2, 9, 5)))
        >>> tuple(answers["lateral"].shape), tuple(gates.shape)
        ((2, 4), (2, 3, 6))
    """

    def __init__(
        self,
        channels: int = 64,
        gate: str = "mmoe",
        experts: str = "dense",
        num_experts: int = 6,
        expert_dim: int = 64,
        gate_dropout: float = 0.0,
        levels: int | None = None,
        kernel_size: int = 3,
        dropout: float = 0.1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.levels, self.kernel_size = channels, levels, kernel_size
        self.gate, self.experts, self.num_experts = gate, experts, num_experts
        self.expert_dim, self.gate_dropout = expert_dim, gate_dropout
        self.dropout, self.seed = dropout, seed
        self.expert_layer = TaskExperts(
            gate,
            experts,
            num_experts,
            expert_dim,
            gate_dropout,
            seed=None if seed is None else seed + 1000,
            dtype=self.dtype_policy,
            name="expert_layer",
        )

    def build(self, features_shape: Any, context_shape: Any = None) -> None:
        steps = features_shape[1]
        self.shared_layer = TCN(
            self.channels,
            self.levels or levels_for(steps, self.kernel_size),
            self.kernel_size,
            self.dropout,
            self.seed,
            last_only=self.experts == "dense",  # dense experts read nothing else
            dtype=self.dtype_policy,
            name="shared_layer",
        )
        self.shared_layer.build(features_shape)
        self.shortcut = keras.layers.Dense(self.channels, dtype=self.dtype_policy, name="shortcut")
        self.shortcut.build((None, steps * features_shape[2]))
        hidden_shape = self.shared_layer.compute_output_shape(features_shape)
        self.expert_layer.build(hidden_shape, context_shape)
        self.built = True

    def call(
        self, features: Any, context: Any = None, training: bool | None = None
    ) -> tuple[dict[str, Any], Any]:
        hidden = self.shared_layer(features, training=training)
        history = keras.ops.reshape(features, (-1, features.shape[1] * features.shape[2]))
        hidden = hidden + self.shortcut(history)[:, None]
        return self.expert_layer(hidden, context, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "channels": self.channels,
            "gate": self.gate,
            "experts": self.experts,
            "num_experts": self.num_experts,
            "expert_dim": self.expert_dim,
            "gate_dropout": self.gate_dropout,
            "levels": self.levels,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
            "seed": self.seed,
        }


ENCODER = (
    *("channels", "gate", "experts", "num_experts", "expert_dim", "gate_dropout"),
    *("levels", "kernel_size", "dropout", "seed", "dtype"),
)


def tmmoe(preset: str = "small", dense: bool = False, **settings: Any) -> TrajectoryModel:
    """TMMOE of a named size with fresh weights.

    Args:
        preset: a name of `TMMOE_PRESETS`.
        dense: the dense twin: one expert in place of all (`shared_bottom`), as wide as makes the
            number of weights that work on an input the same.
        **settings: of `TMMOEEncoder` and `TrajectoryModel`; they override the preset's.

    Raises:
        ValueError: an unknown preset, or settings that do not go together.

    Example:
        >>> model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0)
        >>> twin = tmmoe("tiny", dense=True, history_steps=8, horizon=5, rate=5.0)
        >>> abs(twin.count_params() / model.count_params() - 1) < 0.02
        True
    """
    if preset not in TMMOE_PRESETS:
        raise ValueError(f"Unknown preset {preset!r}. Known: {', '.join(TMMOE_PRESETS)}")
    sizes = {**TMMOE_PRESETS[preset], **settings}
    encoder = {name: sizes.pop(name) for name in ENCODER if name in sizes}
    model = TrajectoryModel(TMMOEEncoder(**encoder, name="encoder"), **sizes)
    if not dense:
        return model
    return TrajectoryModel(_dense_twin(model, encoder), **{**sizes, "context": False})


def _dense_twin(model: TrajectoryModel, settings: dict[str, Any]) -> TMMOEEncoder:
    """An encoder with one expert that has the weights of all the others, gates included."""
    expert_layer = model.encoder.expert_layer
    channels, units = model.encoder.channels, model.encoder.expert_dim
    heads = len(TASKS) * model.head_dim
    wanted = expert_layer.count_params() + units * heads
    if model.site_embedding is not None:
        wanted += model.site_embedding.count_params()
    width = round(wanted / (channels + 1 + heads))
    changed = {"gate": "shared_bottom", "experts": "dense", "expert_dim": max(width, 1)}
    return TMMOEEncoder(**{**settings, **changed, "gate_dropout": 0.0}, name="encoder")
