"""Time-MoE: forecasts of several lengths from every position, any horizon by a greedy schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.models.forecasting.presets import TIME_MOE_PRESETS
from moe_apps.models.forecasting.time_moe_backbone import TimeMoEBackbone
from moe_apps.models.forecasting.window_scaling import window_statistics


def greedy_schedule(horizon: int, lengths: Sequence[int]) -> list[int]:
    """The head lengths used for a horizon: always the largest that still fits.

    Args:
        horizon: steps to forecast, at least 1.
        lengths: the heads' lengths; 1 must be among them, so that any horizon can be met.

    Example:
        >>> greedy_schedule(100, (1, 8, 32, 64))
        [64, 32, 1, 1, 1, 1]
    """
    if horizon < 1:
        raise ValueError(f"`horizon` must be at least 1. Received: {horizon}")
    schedule: list[int] = []
    while horizon > 0:
        schedule.append(max(length for length in lengths if length <= horizon))
        horizon -= schedule[-1]
    return schedule


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class TimeMoE(keras.Model):
    """Forecasts a series from its history with a sparse decoder and heads of several lengths.

    Every position t predicts the next p values for each p in `horizon_lengths`, a linear map of
    the decoder's output. A forecast of any horizon uses the greedy schedule: the largest head
    that fits, its values appended to the history, and so on.

    With `normalize`, a window is scaled by the mean and standard deviation of its history (the
    first `context_length` points in training) and the outputs are scaled back. The published
    benchmark runs did not do so: switch it off to follow them.

    Source: Shi et al. 2024, "Time-MoE: Billion-Scale Time Series Foundation Models with Mixture
    of Experts", arXiv 2409.16040.

    Args:
        backbone: a `TimeMoEBackbone` (or its serialised form).
        context_length: history length that training windows give, in steps.
        horizon_lengths: lengths of the heads, with 1 among them.
        normalize: scale per window. Default True.

    Inputs of a call: dict of `values` `(batch, time)` and optionally `mask` (see the backbone).
    Outputs: dict of `horizon_<p>` `(batch, time, p)` float32, in the input's units.

    Example:
        >>> model = TimeMoE.from_preset("tiny", context_length=32)
        >>> tuple(model.forecast(keras.random.normal((2, 32)), horizon=96).shape)
        (2, 96)
    """

    def __init__(
        self,
        backbone: TimeMoEBackbone | dict[str, Any],
        context_length: int = 512,
        horizon_lengths: Sequence[int] = (1, 8, 32, 64),
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if 1 not in horizon_lengths or min(horizon_lengths) < 1:
            raise ValueError(
                "`horizon_lengths` must be positive and include 1. "
                f"Received: {tuple(horizon_lengths)}"
            )
        self.backbone: TimeMoEBackbone = (
            keras.saving.deserialize_keras_object(backbone)
            if isinstance(backbone, dict)
            else backbone
        )
        self.context_length = context_length
        self.horizon_lengths = tuple(sorted(horizon_lengths))
        self.normalize = normalize
        self.autocast = False  # values stay float32 under mixed precision; the backbone casts
        self.heads = [
            keras.layers.Dense(
                length,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
                dtype="float32",
                name=f"horizon_{length}",
            )
            for length in self.horizon_lengths
        ]
        for head in self.heads:
            head.build((None, None, self.backbone.hidden_dim))
        self.built = True

    @classmethod
    def from_preset(cls, preset: str, dense: bool = False, **settings: Any) -> TimeMoE:
        """A model of a named size with fresh weights.

        Args:
            preset: "tiny", "small", "base", "large" or "ultra".
            dense: the dense twin: one unit of equal active width in place of the experts.
            **settings: of `TimeMoE` or `TimeMoEBackbone`; they override the preset's.
        """
        if preset not in TIME_MOE_PRESETS:
            known = ", ".join(TIME_MOE_PRESETS)
            raise ValueError(f"Unknown preset {preset!r}. Known: {known}")
        own = ("context_length", "horizon_lengths", "normalize", "name")
        outer = {name: settings.pop(name) for name in own if name in settings}
        sizes = {**TIME_MOE_PRESETS[preset], **settings}
        if dense:
            sizes["num_experts"] = 0
        return cls(TimeMoEBackbone(**sizes), **outer)

    @property
    def num_experts(self) -> int:
        """Routed experts of a layer; 0 in the dense twin."""
        return self.backbone.num_experts

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        values = ops.cast(inputs["values"], "float32")
        mask = inputs.get("mask")
        context = values[:, : self.context_length]
        context_mask = None if mask is None else mask[:, : self.context_length]
        mean, scale = self._statistics(context, context_mask)
        hidden = self._run((values - mean) / scale, mask, training)["hidden"]
        mean, scale = mean[..., None], scale[..., None]
        return {head.name: head(hidden) * scale + mean for head in self.heads}

    def forecast(self, history: Any, horizon: Any, mask: Any = None) -> Any:
        """Forecast by the greedy schedule.

        The decoder runs on a buffer of history and forecast; being causal, it does not see the
        part that is not yet filled, so the buffer keeps one shape throughout.

        Args:
            history: `(batch, time)`, any time >= 1, in any units.
            horizon: steps ahead, an int, or a scalar int tensor on TensorFlow.
            mask: boolean `(batch, time)`, true for real points; padding belongs on the left.

        Returns:
            `(batch, horizon)` float32, in the history's units.
        """
        history = ops.cast(history, "float32")
        mean, scale = self._statistics(history, mask)
        start = ops.shape(history)[1]
        if isinstance(horizon, int):  # the last head's values are not read again
            read_again = sum(greedy_schedule(horizon, self.horizon_lengths)[:-1])
        else:
            read_again = horizon
        room = ((0, 0), (0, read_again))
        buffer = ops.pad((history - mean) / scale, room)
        if mask is not None:
            mask = ops.pad(ops.cast(mask, "bool"), room, constant_values=True)
        lengths = ops.convert_to_tensor(self.horizon_lengths, "int32")
        longest = self.horizon_lengths[-1]

        def unfinished(done: Any, buffer: Any, forecast: Any) -> Any:
            return done < horizon

        def step(done: Any, buffer: Any, forecast: Any) -> tuple[Any, Any, Any]:
            hidden = self._run(buffer, mask, False)["hidden"]
            last = ops.take(hidden, start + done - 1, axis=1)  # (batch, hidden_dim)
            outputs = ops.stack(
                [
                    ops.pad(head(last), ((0, 0), (0, longest - length)))
                    for head, length in zip(self.heads, self.horizon_lengths, strict=True)
                ]
            )  # (heads, batch, longest)
            head = ops.sum(ops.cast(lengths <= horizon - done, "int32")) - 1
            chosen = ops.take(outputs, head, axis=0)
            length = ops.take(lengths, head)

            def write(values: Any, first: Any) -> Any:
                """`values` with the chosen head's steps in place; column 0 is step `-first`."""
                ahead = ops.arange(ops.shape(values)[1], dtype="int32") - first - done
                new = ops.take(chosen, ops.clip(ahead, 0, longest - 1), axis=1)
                fresh = ops.logical_and(ahead >= 0, ahead < length)
                return ops.where(fresh[None, :], new, values)

            return done + length, write(buffer, start), write(forecast, 0)

        done = ops.zeros((), dtype="int32")
        forecast = ops.zeros((ops.shape(history)[0], horizon))
        _, _, forecast = ops.while_loop(unfinished, step, (done, buffer, forecast))
        return forecast * scale + mean

    def routing(self, history: Any, mask: Any = None) -> Any:
        """Weight of every expert for every point of the history.

        Returns:
            `(batch, time, num_layers, num_experts)` float32; 0 for experts not chosen and for
            padding.
        """
        history = ops.cast(history, "float32")
        mean, scale = self._statistics(history, mask)
        return self._run((history - mean) / scale, mask, False)["routing"]

    def _run(self, values: Any, mask: Any, training: bool | None) -> dict[str, Any]:
        mask = None if mask is None else ops.cast(mask, "bool")
        outputs = self.backbone({"values": values, "mask": mask}, training=training)
        return {name: ops.cast(value, "float32") for name, value in outputs.items()}

    def _statistics(self, history: Any, mask: Any) -> tuple[Any, Any]:
        if self.normalize:
            return window_statistics(history, mask)
        return ops.zeros((1, 1)), ops.ones((1, 1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "context_length": self.context_length,
            "horizon_lengths": self.horizon_lengths,
            "normalize": self.normalize,
        }
