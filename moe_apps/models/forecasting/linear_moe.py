"""A mixture of linear experts that starts as one linear forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers import MoE
from moe_apps.models.forecasting.heads import QUANTILES, make_head
from moe_apps.models.forecasting.linear_experts import ContextTopK, LowRankExperts
from moe_apps.models.forecasting.rolling import first_window, roll
from moe_apps.models.forecasting.window_scaling import window_statistics
from moe_apps.models.forecasting.with_head import WithHead

STATISTICS = 8


def window_context(scaled: Any, season: int) -> Any:
    """What a window looks like, whatever its level and unit.

    Args:
        scaled: `(batch, time)` of mean 0 and deviation 1, time >= 2.
        season: steps of a season; at most half of the window is taken for one.

    Returns:
        `(batch, 8)`: last value; mean and deviation of the last season; its change from the one
        before; mean of the second half; deviation of the differences; correlation of the window,
        and of its last season, with one season before.

    Example:
        >>> window_context(ops.array([[-1.0, 1.0, -1.0, 1.0]]), season=2)[0, 6].numpy().item()
        1.0
    """
    length = scaled.shape[1]
    season = max(min(season, length // 2), 1)
    last, before = scaled[:, -season:], scaled[:, -2 * season : -season]
    products = scaled[:, season:] * scaled[:, :-season]
    columns = [
        scaled[:, -1],
        ops.mean(last, axis=1),
        ops.std(last, axis=1),
        ops.mean(last - before, axis=1),
        ops.mean(scaled[:, length // 2 :], axis=1),
        ops.std(scaled[:, 1:] - scaled[:, :-1], axis=1),
        ops.mean(products, axis=1),
        ops.mean(products[:, -season:], axis=1),
    ]
    return ops.stack(columns, axis=1)


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class LinearMoE(WithHead, keras.Model):
    """One linear forecast for all windows, plus linear experts for regimes.

    `forecast = x S + sum_i g_i(c) (x A_i B_i + b_i)`, with x the window less its mean, over its
    deviation (undone at the end). S can be set to a fitted linear forecast by `start_from`; B_i
    and b_i start at 0, so that training starts where that stands. The gate does not see x but a
    context c: `window_context`, and what is known of the first step to forecast (the calendar).
    Covariates act at every step too: `(known - its mean in the window) w` is added, w from 0 on.
    With a head, the experts also say how far a step may lie from its forecast, by regime.

    Ours, after Toner and Darlow 2024, "An Analysis of Linear Time Series Forecasting Models",
    arXiv 2403.14587 (linear forecasts of a window are one regression with a closed form), and Ni
    et al. 2024, "Mixture-of-Linear-Experts for Long-term Time Series Forecasting", arXiv
    2312.06786 (linear experts under a gate that sees the time stamp).

    Args:
        look_back: points of a window, at least 2.
        horizon: steps of a forecast; longer ones are rolled.
        season: steps of a season, for `window_context`.
        known_features: features known beforehand, such as the calendar's; 0 for none.
        effects: how many of these features, the last ones, act at every step.
        num_experts: experts; 0 makes the dense twin, one linear map of the active rank.
        k: experts per window.
        rank: rank of an expert's map A_i B_i.
        gate_dim: width of the gate's hidden layer.
        balance_loss_weight: factor of the balance loss.
        train_shared: whether S is trained too.
        dispatch: "dropless", "capacity" or "dense".
        head: "point", "quantile" or "student_t"; see `make_head`.
        levels: quantiles of the head "quantile".

    Inputs of a call: dict of `values` `(batch, look_back)`, optionally `mask` (boolean, true for
    real points; others count as the mean) and `known`
    `(batch, look_back + horizon, known_features)`.
    Outputs: dict of `forecast` `(batch, horizon)` float32 in the input's units, or what a head
    makes of every step, `(batch, horizon, outputs)`.

    Example:
        >>> model = LinearMoE(look_back=48, horizon=24, season=24, num_experts=4, rank=4)
        >>> tuple(model.forecast(keras.random.normal((2, 48)), horizon=30).shape)
        (2, 30)
    """

    def __init__(
        self,
        look_back: int,
        horizon: int,
        season: int = 1,
        known_features: int = 0,
        effects: int = 0,
        num_experts: int = 8,
        k: int = 2,
        rank: int = 8,
        gate_dim: int = 16,
        balance_loss_weight: float = 0.01,
        train_shared: bool = True,
        dispatch: str = "dropless",
        head: str = "point",
        levels: Sequence[float] = QUANTILES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, least in (
            ("look_back", look_back, 2),
            ("horizon", horizon, 1),
            ("rank", rank, 1),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
        self.look_back = look_back
        self.horizon = horizon
        self.season = season
        self.known_features = known_features
        self.effects = effects
        self.num_experts = num_experts
        self.k = k
        self.rank = rank
        self.gate_dim = gate_dim
        self.balance_loss_weight = balance_loss_weight
        self.train_shared = train_shared
        self.dispatch = dispatch
        self.head = head
        self.levels = tuple(levels)
        self.autocast = False  # values stay float32 under mixed precision; the layers cast
        dtype = self.dtype_policy
        self.shared = keras.layers.Dense(
            horizon, use_bias=False, trainable=train_shared, dtype=dtype, name="shared"
        )
        self.shared.build((None, look_back))
        self.spread = make_head(head, levels, horizon)
        # Of every step its middle, and the free numbers of a head.
        self.width = 1 if self.spread is None else 1 + self.spread.numbers
        self.effect = None
        if effects:
            self.effect = keras.layers.Dense(
                1, use_bias=False, kernel_initializer="zeros", dtype="float32", name="effect"
            )
            self.effect.build((None, None, effects))
        if num_experts:
            self.gate = keras.layers.Dense(gate_dim, "tanh", dtype="float32", name="gate")
            self.gate.build((None, STATISTICS + known_features))
            self.mixture = MoE(
                ContextTopK(
                    context_dim=gate_dim,
                    k=k,
                    renormalize=k > 1,
                    balance_loss_weight=balance_loss_weight,
                ),
                LowRankExperts(num_experts, rank, self.width * horizon, dtype=dtype),
                dispatch=dispatch,
                dtype=dtype,
                name="moe",
            )
            self.mixture.build((None, look_back))
        else:
            self.mixture = LowRankExperts(
                1, k * rank, self.width * horizon, dtype=dtype, name="dense"
            )
            self.mixture.build((None, None, look_back))
        self.built = True

    def start_from(self, weights: Any) -> None:
        """Set S to a linear forecast `(look_back, horizon)` of windows less their mean."""
        self.shared.kernel.assign(weights)

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        forecast, _ = self._run(inputs["values"], inputs.get("mask"), inputs.get("known"), training)
        return {"forecast": forecast}

    def _rolled(self, history: Any, horizon: Any, mask: Any, known: Any) -> Any:
        return roll(
            lambda window, seen, ahead: self._run(window, seen, ahead)[0],
            history,
            horizon,
            look_back=self.look_back,
            steps=self.horizon,
            mask=mask,
            known=known if self.known_features else None,
            **self.rolled_as,
        )

    def routing(self, history: Any, mask: Any = None, known: Any = None) -> Any:
        """Weight of every expert for each window, `(batch, 1, 1, num_experts)`; 0: not chosen."""
        window, mask, known = first_window(
            history, look_back=self.look_back, mask=mask, known=known
        )
        weights = self._run(window, mask, known)[1]
        return weights[:, None, None, :]

    def _run(
        self, values: Any, mask: Any, known: Any, training: bool | None = None
    ) -> tuple[Any, Any]:
        values = ops.cast(values, "float32")
        mean, scale = window_statistics(values, mask)
        scaled = (values - mean) / scale
        if mask is not None:
            scaled = ops.where(ops.cast(mask, "bool"), scaled, 0.0)
        weights = None
        if self.num_experts:
            context = window_context(scaled, self.season)
            if self.known_features:
                first = (
                    ops.zeros((ops.shape(values)[0], self.known_features))
                    if known is None
                    else known[:, self.look_back]
                )
                context = ops.concatenate([context, first], axis=1)
            mixed, routing = self.mixture(
                scaled, context=self.gate(context), return_routing=True, training=training
            )
            weights = routing["weights"]
        else:
            mixed = self.mixture(scaled[None])[0]
        mixed = ops.reshape(ops.cast(mixed, "float32"), (-1, self.horizon, self.width))
        outputs = ops.cast(self.shared(scaled), "float32") + mixed[..., 0]
        if self.effect is not None and known is not None:
            acting = known[:, :, -self.effects :]
            usual = ops.mean(acting[:, : self.look_back], axis=1, keepdims=True)
            outputs = outputs + self.effect(acting[:, self.look_back :] - usual)[..., 0]
        if self.spread is not None:
            return self.spread(outputs, mixed[..., 1:], mean, scale), weights
        return outputs * scale + mean, weights

    def get_config(self) -> dict[str, Any]:
        names = (
            "look_back horizon season known_features effects num_experts k rank gate_dim "
            "balance_loss_weight train_shared dispatch head levels"
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names.split()}}
