"""MoHETS: patches of a series, covariates by cross-attention, heterogeneous experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers import DepthwiseConvFFN, FourierExperts, MoE, TopK
from moe_apps.layers.routing.pooled_balance import PooledBalanceLoss
from moe_apps.models.forecasting.heads import QUANTILES, make_head
from moe_apps.models.forecasting.mohets_layers import (
    GroupedQueryAttention,
    PatchDecoder,
    PatchEmbedding,
)
from moe_apps.models.forecasting.presets import MOHETS_PRESETS
from moe_apps.models.forecasting.rolling import first_window, roll
from moe_apps.models.forecasting.window_scaling import window_statistics
from moe_apps.models.forecasting.with_head import WithHead

ARGUMENTS = (
    *("look_back", "steps", "channels", "known_features", "num_layers", "num_heads"),
    *("num_key_heads", "hidden_dim", "intermediate_dim", "patch", "num_experts", "k"),
    *("balance_loss_weight", "dropout", "drop_path", "scaled_init", "one_shot", "dispatch"),
    *("head", "levels"),
)


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class MoHETS(WithHead, keras.Model):
    """An encoder over patches whose experts differ in kind, with calendar and covariates beside.

    A window of each channel is normalised and cut into patches. What is known of each step and
    all channels of the window are embedded as a second sequence of patches, to which every block
    attends. A block is self-attention, cross-attention and a mixture of a shared depthwise
    convolution over the tokens with `k` of `num_experts` Fourier networks a token.

    The model maps a window to the same window moved on by `steps`, and a longer forecast is
    rolled. With `one_shot`, ours, `steps` future patches are queried beside those of the window
    and decoded at once, so that nothing of the target is in the input.

    Source: Ortigossa et al. 2026, "MoHETS: Long-term Time Series Forecasting with Mixture of
    Heterogeneous Experts", arXiv 2601.21866, from its released code.

    Args:
        look_back: points of a window, a multiple of `patch`.
        steps: steps that a call forecasts; the code has 1.5 patches (24).
        channels: series that are given together; forecasts of each come from its own tokens, the
            others enter as covariates.
        known_features: features known beforehand of every step; the code has 5 calendar marks.
        num_layers, num_heads, num_key_heads, hidden_dim, intermediate_dim, patch: sizes.
        num_experts: routed experts; 0 makes the dense twin, with a shared expert as wide as what
            is active.
        k: routed experts a token.
        balance_loss_weight: factor of the balance loss, in the code's form (k at balance).
        dropout: rate in embedding, attention and shared expert.
        drop_path: rate at which the last block's branches are dropped; earlier ones less.
        scaled_init: draw the experts from N(0, 1 / fan-in) instead of the code's N(0, 1), with
            which the first outputs are large.
        one_shot: query the future instead of moving the window.
        dispatch: "dropless", "capacity" or "dense".
        head: "point", "quantile" or "student_t", ours; see `make_head`.
        levels: quantiles of the head "quantile".

    Inputs of a call: dict of `values` `(batch, look_back)`, or `(batch, look_back, channels)`
    for more than one, and optionally `mask` of that shape and `known`
    `(batch, look_back + steps, known_features)`.
    Outputs: dict of `moved`, the window moved on, or with `one_shot` `forecast` `(batch, steps)`;
    float32 in the input's units, with an axis of channels as the input has, and behind it one of
    what a head makes of every step.

    Example:
        >>> sizes = {"look_back": 48, "steps": 12, "patch": 8}
        >>> model = MoHETS.from_preset("tiny", **sizes, num_layers=1, num_experts=2)
        >>> tuple(model.forecast(keras.random.normal((2, 48)), horizon=20).shape)
        (2, 20)
    """

    def __init__(
        self,
        look_back: int = 672,
        steps: int = 24,
        channels: int = 1,
        known_features: int = 0,
        num_layers: int = 4,
        num_heads: int = 4,
        num_key_heads: int = 2,
        hidden_dim: int = 128,
        intermediate_dim: int = 256,
        patch: int = 16,
        num_experts: int = 8,
        k: int = 2,
        balance_loss_weight: float = 0.02,
        dropout: float = 0.2,
        drop_path: float = 0.3,
        scaled_init: bool = False,
        one_shot: bool = False,
        dispatch: str = "dropless",
        head: str = "point",
        levels: Sequence[float] = QUANTILES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if look_back % patch:
            raise ValueError(f"`look_back` {look_back} must be a multiple of `patch` {patch}.")
        if not one_shot and not 0 < steps <= look_back:
            raise ValueError(f"`steps` must be in [1, look_back]. Received: {steps}")
        self.look_back = look_back
        self.steps = steps
        self.channels = channels
        self.known_features = known_features
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.num_key_heads = num_key_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.patch = patch
        self.num_experts = num_experts
        self.k = k
        self.balance_loss_weight = balance_loss_weight
        self.dropout = dropout
        self.drop_path = drop_path
        self.scaled_init = scaled_init
        self.one_shot = one_shot
        self.dispatch = dispatch
        self.head = head
        self.levels = tuple(levels)
        self.autocast = False  # values stay float32 under mixed precision; the layers cast
        policy = self.dtype_policy
        self.queried = -(-steps // patch) if one_shot else 0
        tokens = look_back // patch + self.queried
        width = max(known_features, channels, hidden_dim)

        def dense(units: int, inputs: int, name: str) -> keras.layers.Dense:
            layer = keras.layers.Dense(units, use_bias=False, dtype=policy, name=name)
            layer.build((None, None, inputs))
            return layer

        self.embedding = PatchEmbedding(patch, hidden_dim, dropout, dtype=policy)
        self.embedding.build((None, look_back))
        self.of_series = dense(width, channels, "of_series")
        self.of_known = dense(width, known_features, "of_known") if known_features else None
        inputs = 2 * width if known_features else width
        self.to_channels = dense(channels, inputs, "to_channels")
        self.covariate_embedding = PatchEmbedding(patch, hidden_dim, dropout, dtype=policy)
        self.covariate_embedding.build((None, tokens * patch))
        rates = [drop_path * block / max(num_layers - 1, 1) for block in range(num_layers)]
        self.blocks = [self._block(rate, tokens) for rate in rates]
        self.final_norm = self._norm()
        self.project = dense(hidden_dim, hidden_dim, "project")
        self.spread = make_head(head, levels)
        numbers = 0 if self.spread is None else self.spread.numbers
        self.decoder = PatchDecoder(patch, 1 + numbers, dtype=policy)
        self.decoder.build((None, self.queried or tokens, hidden_dim))
        if one_shot:
            self.query = self.add_weight(
                name="query", shape=(hidden_dim,), initializer="glorot_normal"
            )
        self.balance = PooledBalanceLoss(k, balance_loss_weight if num_experts else 0.0)
        self.built = True

    @classmethod
    def from_preset(cls, preset: str, dense: bool = False, **settings: Any) -> MoHETS:
        """A model of a named size (tiny, small, base, large) with fresh weights."""
        if preset not in MOHETS_PRESETS:
            raise ValueError(f"Unknown preset {preset!r}. Known: {', '.join(MOHETS_PRESETS)}")
        sizes = {**MOHETS_PRESETS[preset], **settings}
        if dense:
            sizes["num_experts"] = 0
        return cls(**sizes)

    # === Layers ===

    def _norm(self) -> keras.layers.Layer:
        norm = keras.layers.RMSNormalization(epsilon=1e-6, dtype=self.dtype_policy)
        norm.build((None, None, self.hidden_dim))
        return norm

    def _block(self, rate: float, tokens: int) -> dict[str, keras.layers.Layer]:
        policy, shape = self.dtype_policy, (None, tokens, self.hidden_dim)

        def attention() -> keras.layers.Layer:
            return GroupedQueryAttention(
                self.num_heads, self.num_key_heads, self.dropout, dtype=policy
            )

        block: dict[str, keras.layers.Layer] = {
            "self": attention(),
            "cross": attention(),
            # One draw a sample: the whole branch is kept or not.
            "drop": keras.layers.Dropout(rate, noise_shape=(None, 1, 1), dtype=policy),
        }
        shared = self.intermediate_dim
        if self.num_experts:
            scale = self.hidden_dim**-0.5 if self.scaled_init else 1.0
            normal: keras.initializers.Initializer = keras.initializers.RandomNormal(stddev=1.0)
            if self.scaled_init:
                normal = keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal")
            block["experts"] = MoE(
                TopK(k=self.k, renormalize=True),
                FourierExperts(
                    self.num_experts,
                    self.intermediate_dim,
                    frequency_scale=scale,
                    kernel_initializer=normal,
                    dtype=policy,
                ),
                shared=DepthwiseConvFFN(shared, dropout=self.dropout, dtype=policy),
                dispatch=self.dispatch,
                dtype=policy,
            )
        else:
            # A Fourier network of two layers has 3/4 of the weights of a plain one.
            shared += round(0.75 * self.k * self.intermediate_dim)
            block["experts"] = DepthwiseConvFFN(shared, dropout=self.dropout, dtype=policy)
        for name in ("self", "cross", "experts"):
            block[name].build(shape)
            block[f"{name}_norm"] = self._norm()
        return block

    # === Calls ===

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        outputs, _ = self._run(inputs["values"], inputs.get("mask"), inputs.get("known"), training)
        return {"forecast" if self.one_shot else "moved": outputs}

    def _rolled(self, history: Any, horizon: Any, mask: Any, known: Any) -> Any:
        self._check_one_channel()
        return roll(
            lambda window, seen, ahead: self._run(window, seen, ahead)[0][:, -self.steps :],
            history,
            horizon,
            look_back=self.look_back,
            steps=self.steps,
            mask=mask,
            known=known if self.known_features else None,
            **self.rolled_as,
        )

    def routing(self, history: Any, mask: Any = None, known: Any = None) -> Any:
        """Weight of every expert for every point, `(batch, look_back, layers, num_experts)`.

        All points of a patch have those of its token.
        """
        self._check_one_channel()
        window, mask, known = first_window(
            history,
            look_back=self.look_back,
            mask=mask,
            known=known if self.known_features else None,
            after=self.steps,
        )
        weights = self._run(window, mask, known)[1][:, : self.look_back // self.patch]
        return ops.repeat(weights, self.patch, axis=1)

    def _check_one_channel(self) -> None:
        if self.channels > 1:
            raise ValueError("`forecast` and `routing` are of one channel; call the model itself.")

    def _run(
        self, values: Any, mask: Any, known: Any, training: bool | None = None
    ) -> tuple[Any, Any]:
        single = len(values.shape) == 2
        values = ops.cast(values, "float32")
        if single:
            values, mask = values[..., None], None if mask is None else mask[..., None]
        flat = self._by_channel(values)  # (batch * channels, look_back)
        flat_mask = None if mask is None else self._by_channel(mask)
        mean, scale = window_statistics(flat, flat_mask)
        flat = (flat - mean) / scale
        if flat_mask is not None:
            flat = ops.where(ops.cast(flat_mask, "bool"), flat, 0.0)
        tokens, context = self._tokens(flat, known, training)
        routings = []
        for block in self.blocks:
            tokens, routing = self._through(block, tokens, context, training)
            routings.append(routing)
        if self.num_experts:
            tokens = self.balance(tokens, routings=routings, training=training)
        tokens = self.project(self.final_norm(tokens))
        steps = ops.cast(self.decoder(tokens[:, -(self.queried or tokens.shape[1]) :]), "float32")
        steps = steps[:, : self.steps if self.one_shot else self.look_back]
        if self.spread is None:
            outputs = steps[..., 0] * scale + mean
        else:
            outputs = self.spread(steps[..., 0], steps[..., 1:], mean, scale)
        weights = None
        if self.num_experts:
            weights = ops.stack([routing["weights"] for routing in routings], axis=2)
        if not single:
            shape = (-1, self.channels, *outputs.shape[1:])
            outputs = ops.swapaxes(ops.reshape(outputs, shape), 1, 2)
        return outputs, weights

    def _by_channel(self, values: Any) -> Any:
        return ops.reshape(ops.transpose(values, (0, 2, 1)), (-1, self.look_back))

    def _tokens(self, flat: Any, known: Any, training: bool | None) -> tuple[Any, Any]:
        """Tokens of the series, and those of all channels and what is known, side by side."""
        tokens = self.embedding(flat, training=training)
        if self.one_shot:
            query = ops.cast(self.query, tokens.dtype)[None, None]
            shape = (ops.shape(tokens)[0], self.queried, self.hidden_dim)
            tokens = ops.concatenate([tokens, ops.broadcast_to(query, shape)], axis=1)
        ahead = self.queried * self.patch
        series = ops.reshape(flat, (-1, self.channels, self.look_back))
        series = ops.pad(ops.transpose(series, (0, 2, 1)), ((0, 0), (0, ahead), (0, 0)))
        parts = [self.of_series(series)]  # (batch, steps, width)
        if self.of_known is not None:
            count = self.look_back + min(ahead, self.steps)
            if known is None:
                known = ops.zeros((ops.shape(series)[0], count, self.known_features))
            seen = ops.take(ops.cast(known, "float32"), ops.arange(count), axis=1)
            more = self.look_back + ahead - count
            parts.append(self.of_known(ops.pad(seen, ((0, 0), (0, more), (0, 0)))))
        mixed = self.to_channels(ops.concatenate(parts, axis=-1))
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1)), (-1, self.look_back + ahead))
        return tokens, self.covariate_embedding(mixed, training=training)

    def _through(
        self, block: dict[str, Any], tokens: Any, context: Any, training: bool | None
    ) -> tuple[Any, Any]:
        def joined(branch: Any) -> Any:
            return tokens + block["drop"](branch, training=training)

        tokens = joined(block["self"](block["self_norm"](tokens), training=training))
        tokens = joined(
            block["cross"](block["cross_norm"](tokens), context=context, training=training)
        )
        normed = block["experts_norm"](tokens)
        if not self.num_experts:
            return joined(block["experts"](normed, training=training)), None
        mixed, routing = block["experts"](normed, return_routing=True, training=training)
        return joined(mixed), routing

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in ARGUMENTS}}
