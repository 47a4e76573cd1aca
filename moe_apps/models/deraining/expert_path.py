"""The expert half of MoFME's transformer layer, and the forms it is compared with."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers import FFNExperts, ModulationExperts, MoE
from moe_apps.layers.catalogue import construct
from moe_apps.registry import ROUTERS

Kind = Literal["modulation", "ffn", "dense"]


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class ExpertPath(keras.layers.Layer):
    """Layer normalisation, experts, and what is behind them.

    With `u = norm(x)` and D features, by `kind`:

    - "modulation": experts that scale and shift one base common to all, mixed by the router, and
      then one feed-forward network of hidden width 4 D for the mixture (MoFME).
    - "ffn": each expert is a feed-forward network of hidden width 4 D (the ordinary mixture).
    - "dense": one feed-forward network, without router, as large as the active part of the
      "modulation" form: hidden width `(5 + k) D`.

    The router sees `u`.

    Source: Zhang et al. 2023, "Efficient Deweather Mixture-of-Experts with Uncertainty-Aware
    Feature-Wise Linear Modulation" (MoFME), arXiv 2312.16610.

    Args:
        kind: see above.
        num_experts: experts.
        k: experts a token.
        router: name of a registered router. Default "uncertainty_aware".
        modulation: "linear" or "vector", of `ModulationExperts`.
        balance_loss_weight: factor of the router's balance loss.
        dropout: rate on the output, in training.

    Input: `(batch, tokens, features)`.

    Returns:
        the output `(batch, tokens, features)`, and a dict, empty for "dense", of `weights`
        `(batch, tokens, experts)` and, where the router knows it, `uncertainty`
        `(batch, tokens)`: variance of the router's logits over dropout, mean over the experts.
    """

    def __init__(
        self,
        kind: Kind = "modulation",
        num_experts: int = 8,
        k: int = 2,
        router: str = "uncertainty_aware",
        modulation: Literal["linear", "vector"] = "linear",
        balance_loss_weight: float = 0.0,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in ("modulation", "ffn", "dense"):
            raise ValueError(f'`kind` must be "modulation", "ffn" or "dense". Received: {kind!r}')
        self.kind = kind
        self.num_experts = num_experts
        self.k = k
        self.router = router
        self.modulation = modulation
        self.balance_loss_weight = balance_loss_weight
        self.dropout = dropout

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        policy = {"dtype": self.dtype_policy}
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm", **policy)
        self.norm.build(input_shape)
        self.drop = keras.layers.Dropout(self.dropout, **policy)
        if self.kind != "dense":
            bank: Any = (
                ModulationExperts(self.num_experts, self.modulation, **policy)
                if self.kind == "modulation"
                else FFNExperts(self.num_experts, 4 * features, activation="gelu", **policy)
            )
            # A name of its own: routing is followed by the name of the layer.
            self.moe = MoE(self._router(), bank, name=f"{self.name}_moe", **policy)
            self.moe.build(input_shape)
        if self.kind != "ffn":
            hidden = (5 + self.k if self.kind == "dense" else 4) * features
            self.widen = keras.layers.Dense(hidden, activation="gelu", name="widen", **policy)
            self.narrow = keras.layers.Dense(features, name="narrow", **policy)
            self.widen.build(input_shape)
            self.narrow.build((*input_shape[:-1], hidden))
        self.built = True

    def _router(self) -> Any:
        return construct(
            ROUTERS,
            self.router,
            k=self.k,
            softmax="chosen",
            balance_loss_weight=self.balance_loss_weight,
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        normed, routing = self.norm(x), {}
        hidden = normed
        if self.kind != "dense":
            hidden, *_, found = self.moe(normed, return_routing=True, training=training)
            routing["weights"] = found["weights"]
            if hasattr(self.moe.router, "variance"):
                variance = ops.stop_gradient(self.moe.router.variance(normed))
                routing["uncertainty"] = ops.mean(variance, axis=-1)
        if self.kind != "ffn":
            hidden = self.narrow(self.drop(self.widen(hidden), training=training))
        return self.drop(hidden, training=training), routing

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "num_experts": self.num_experts,
            "k": self.k,
            "router": self.router,
            "modulation": self.modulation,
            "balance_loss_weight": self.balance_loss_weight,
            "dropout": self.dropout,
        }
