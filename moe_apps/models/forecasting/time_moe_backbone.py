"""Time-MoE's decoder: one token a time step, sparse experts in every block."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers import MoE, SwiGLU
from moe_apps.layers.attention import RotarySelfAttention
from moe_apps.layers.catalogue import construct
from moe_apps.layers.routing.pooled_balance import PooledBalanceLoss
from moe_apps.registry import EXPERT_BANKS, ROUTERS


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class PointEmbedding(keras.layers.Layer):
    """Embeds each value of a series: `silu(w x) * (v x)`, without bias, so 0 embeds to 0.

    Input `(batch, time)`, output `(batch, time, hidden_dim)`.

    Source: Shi et al. 2024, "Time-MoE", arXiv 2409.16040.
    """

    def __init__(
        self, hidden_dim: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        shape = (self.hidden_dim,)
        self.gate = self.add_weight(
            name="gate", shape=shape, initializer=self.kernel_initializer.clone()
        )
        self.up = self.add_weight(
            name="up", shape=shape, initializer=self.kernel_initializer.clone()
        )
        self.built = True

    def call(self, values: Any) -> Any:
        values = values[..., None]  # (batch, time, 1)
        return ops.silu(values * self.gate) * (values * self.up)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class TimeMoEBackbone(keras.Model):
    """Decoder-only transformer over single time points with a sparse mixture in every block.

    A block is `u = h + attention(norm(h))`, `h' = u + moe(norm(u))`; the mixture has `k` of
    `num_experts` routed gated units plus one shared unit behind a sigmoid gate. The k weights
    are softmax probabilities over all experts, not renormalised. No token is dropped.

    Source: Shi et al. 2024, "Time-MoE", arXiv 2409.16040, and its released code.

    Args:
        num_layers: blocks.
        num_heads: attention heads.
        hidden_dim: width d.
        intermediate_dim: hidden width of the shared unit; a routed one has this divided by k.
        num_experts: routed experts; 0 makes the dense twin, one unit as wide as the active ones.
        k: routed experts per token.
        balance_loss_weight: factor of the balance loss.
        balance_form: "paper": each layer's loss, 1 at balance, averaged over layers; "code":
            pooled over layers, k at balance.
        router: name of a registered router; it gets `k`, where it has one. It must be causal.
        experts: name of a registered expert bank; it gets `hidden_dim`, where it has one.
        dispatch: "dropless", "capacity" or "dense".
        initializer_std: deviation of all initial matrices but the embedding's.
        embedding_std: deviation of the embedding's. The released code has 0.02 for both. There
            `silu(w x) * (v x)` is nearly `w v x^2 / 2`, blind to the sign of x, and a small
            model needs long to leave that plateau: our small presets start larger.
        rope_theta: base of the rotary frequencies. Frequency j of a head of width w has a period
            of `2 pi theta^(2 j / w)` steps; a base that makes one of them a season lets a small
            model look one season back from its first layer on.

    Inputs: dict of `values` `(batch, time)` and `mask`, None or boolean `(batch, time)`, true for
    real points (padding belongs on the left).

    Outputs: dict of `hidden` `(batch, time, hidden_dim)` after the last norm, and `routing`
    `(batch, time, num_layers, num_experts)` float32, the weight of each expert (0: not chosen);
    without routed experts there is no `routing`.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        num_experts: int = 8,
        k: int = 2,
        balance_loss_weight: float = 0.02,
        balance_form: str = "paper",
        router: str = "top_k",
        experts: str = "swiglu",
        dispatch: str = "dropless",
        initializer_std: float = 0.02,
        embedding_std: float = 0.02,
        rope_theta: float = 10000.0,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if balance_form not in ("paper", "code"):
            raise ValueError(f'`balance_form` must be "paper" or "code". Received: {balance_form}')
        card = getattr(ROUTERS.get(router), "card", None)
        if card is not None and not card.causal:
            raise ValueError(
                f"router {router!r} is not causal: a forecast would be made from later points."
            )
        per_layer = balance_loss_weight / num_layers if balance_form == "paper" else 0.0

        # === Layers ===
        def normal() -> keras.initializers.Initializer:
            return keras.initializers.RandomNormal(stddev=initializer_std)

        def norm(name: str) -> keras.layers.Layer:
            return keras.layers.RMSNormalization(epsilon=1e-6, dtype=dtype, name=name)

        def feed_forward(block: int) -> keras.layers.Layer:
            if num_experts == 0:
                width = 2 * intermediate_dim  # the shared unit and k routed ones of width / k
                return SwiGLU(width, kernel_initializer=normal(), dtype=dtype, name=f"ffn_{block}")
            return MoE(
                construct(
                    ROUTERS,
                    router,
                    k=k,
                    balance_loss_weight=per_layer,
                    kernel_initializer=normal(),
                ),
                construct(
                    EXPERT_BANKS,
                    experts,
                    num_experts=num_experts,
                    hidden_dim=intermediate_dim // k,
                    kernel_initializer=normal(),
                    dtype=dtype,
                ),
                shared=SwiGLU(
                    intermediate_dim, gated=True, kernel_initializer=normal(), dtype=dtype
                ),
                dispatch=dispatch,
                dtype=dtype,
                name=f"moe_{block}",
            )

        # === Functional model ===
        values = keras.Input((None,), name="values", dtype="float32")
        mask = keras.Input((None,), name="mask", dtype="bool", optional=True)
        hidden = PointEmbedding(
            hidden_dim,
            keras.initializers.RandomNormal(stddev=embedding_std),
            dtype=dtype,
            name="embedding",
        )(values)
        routings: list[Any] = []
        state = None
        for block in range(num_layers):
            attention = RotarySelfAttention(
                num_heads,
                theta=rope_theta,
                kernel_initializer=normal(),
                dtype=dtype,
                name=f"attention_{block}",
            )
            hidden = hidden + attention(norm(f"attention_norm_{block}")(hidden), padding_mask=mask)
            normed = norm(f"ffn_norm_{block}")(hidden)
            layer = feed_forward(block)
            if num_experts:
                mixed, *carried, routing = layer(
                    normed, mask=mask, state=state, return_routing=True
                )
                state = carried[0] if carried else None
                routings.append(routing)
            else:
                mixed = layer(normed)
            hidden = hidden + mixed
        if balance_form == "code" and balance_loss_weight and num_experts:
            pooled = PooledBalanceLoss(k, balance_loss_weight, dtype=dtype, name="balance")
            hidden = pooled(hidden, routings=routings, mask=mask)
        outputs = {"hidden": norm("final_norm")(hidden)}
        if num_experts:
            outputs["routing"] = ops.stack([r["weights"] for r in routings], axis=2)
        super().__init__({"values": values, "mask": mask}, outputs, **kwargs)

        # === Config ===
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.num_experts = num_experts
        self.k = k
        self.balance_loss_weight = balance_loss_weight
        self.balance_form = balance_form
        self.router = router
        self.experts = experts
        self.dispatch = dispatch
        self.initializer_std = initializer_std
        self.embedding_std = embedding_std
        self.rope_theta = rope_theta
        self.layer_dtype = dtype

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "num_experts": self.num_experts,
            "k": self.k,
            "balance_loss_weight": self.balance_loss_weight,
            "balance_form": self.balance_form,
            "router": self.router,
            "experts": self.experts,
            "dispatch": self.dispatch,
            "initializer_std": self.initializer_std,
            "embedding_std": self.embedding_std,
            "rope_theta": self.rope_theta,
            "dtype": self.layer_dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TimeMoEBackbone:
        return cls(**config)
