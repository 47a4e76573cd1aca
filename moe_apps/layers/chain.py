"""Experts that are run several times in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.dispatch import Dispatcher, get_dispatcher
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.moe import MoE
from moe_apps.layers.routing import Router
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "chain_of_experts",
    paper="Wang et al. 2025, arXiv 2506.18945",
    purpose="tokens pass the same experts several times, routed anew each time",
)
class ChainOfExperts(keras.layers.Layer):
    """Passes tokens through the same experts several times, each time with a router of its own.

    `h_0 = norm(x)`, `h_t = h_{t-1} + moe_t(h_{t-1})` for t = 1..C, `y = h_C`, where all `moe_t`
    have one bank and one shared layer, and `moe_t` has the t-th router. An expert's work is done C
    times, so k / C experts at a time cost as much as k at once.

    Source: Wang et al. 2025, "Chain-of-Experts", arXiv 2506.18945, and the released code, where
    `y` replaces the input and is not added to it.

    Args:
        routers: one `Router` for each of the C iterations.
        experts: an `ExpertBank`, or any that gives as many features as it gets.
        shared: a layer that every token passes through in each iteration; None for none.
        norm: a layer applied first, such as `keras.layers.RMSNormalization()`; None for none, as
            where the block normalises the input itself.
        inner_residual: add each iteration's input to its output. Default True.
        outer_residual: add `x` to the result: `y = x + h_C`. Default False. With inner
            residuals `norm(x)` is a part of the result already.
        dispatch: as in `MoE`.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens; others meet no expert.
        state: for routers that carry state: what the layer below returned. It is handed from
            iteration to iteration, and the last one's is returned.
        context: what the routers look at besides `x`.

    Returns:
        `y` of the shape of `x`; with routers that carry state `(y, state)`.

    In training each iteration adds the losses of its router, and metrics follow it.

    Example:
        >>> from moe_apps.layers import FFNExperts, TopK
        >>> layer = ChainOfExperts([TopK(k=1), TopK(k=1)], FFNExperts(4, hidden_dim=16))
        >>> tuple(layer(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        routers: Sequence[Router | dict[str, Any]],
        experts: ExpertBank | dict[str, Any],
        shared: keras.layers.Layer | dict[str, Any] | None = None,
        norm: keras.layers.Layer | dict[str, Any] | None = None,
        inner_residual: bool = True,
        outer_residual: bool = False,
        dispatch: str | Dispatcher | dict[str, Any] = "dropless",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not routers:
            raise ValueError("`routers` must have one router for each iteration, at least one.")
        self.supports_masking = True
        self.routers = [revive(router) for router in routers]
        self.experts = revive(experts)
        self.shared = revive(shared)
        self.norm = revive(norm)
        self.inner_residual = inner_residual
        self.outer_residual = outer_residual
        self.dispatch = get_dispatcher(dispatch)
        self.iterations = [
            MoE(
                router,
                self.experts,
                shared=self.shared,
                dispatch=self.dispatch,
                dtype=self.dtype_policy,
                name=f"{self.name}_{number}",
            )
            for number, router in enumerate(self.routers)
        ]

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if self.experts.features_out(features) != features:
            raise ValueError(
                f"`experts` must give as many features as they get, {features}. "
                f"Received: {self.experts.features_out(features)}"
            )
        if self.norm is not None and not self.norm.built:
            self.norm.build(input_shape)
        for moe in self.iterations:
            moe.build(input_shape)
        self.built = True

    def call(
        self,
        x: Any,
        mask: Any = None,
        state: Any = None,
        context: Any = None,
        training: bool | None = None,
    ) -> Any:
        hidden = x if self.norm is None else self.norm(x)
        carries = False
        for moe in self.iterations:
            result = moe(hidden, mask=mask, state=state, context=context, training=training)
            carries = isinstance(result, tuple)
            outputs, state = result if carries else (result, None)
            hidden = hidden + outputs if self.inner_residual else outputs
        outputs = x + hidden if self.outer_residual else hidden
        return (outputs, state) if carries else outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "routers": [serialize_part(router) for router in self.routers],
            "experts": serialize_part(self.experts),
            "shared": serialize_part(self.shared),
            "norm": serialize_part(self.norm),
            "inner_residual": self.inner_residual,
            "outer_residual": self.outer_residual,
            "dispatch": keras.saving.serialize_keras_object(self.dispatch),
        }
