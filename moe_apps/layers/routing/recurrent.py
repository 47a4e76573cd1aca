"""Routing that remembers the routing of the layers below."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "recurrent",
    paper="Qiu et al. 2024, arXiv 2408.06793",
    purpose="a recurrent state carries routing from layer to layer",
)
class RecurrentRouter(TopK):
    """Top-k routing by a state that a gated recurrent unit carries from layer to layer.

    `r = GRU(x W_1, r_below)` and `logits = r W_2`. The recurrence runs over depth, for each token
    by itself. `W_1` and `W_2` are the layer's own; give the same `keras.layers.GRUCell` to the
    routers of all layers, so that its weights exist once:

        cell = keras.layers.GRUCell(256, dtype="float32")
        for _ in range(depth):
            moe = MoE(RecurrentRouter(cell), FFNExperts(8, hidden_dim=512))
            y, r = moe(x, state=r)      # r is None before the first

    A `.keras` file keeps the cell shared. `keras.models.clone_model` does not.

    Source: Qiu et al. 2024, "Layerwise Recurrent Router for Mixture-of-Experts",
    arXiv 2408.06793.

    Args:
        cell: `keras.layers.GRUCell` of dtype float32 whose units are the size of the state, or
            its config. None makes one of 256 units that no other router shares.
        k: experts per token. Default 2.
        renormalize: divide the k weights by their sum. Default True.
        balance_loss_weight: Default 0.001.
        **kwargs: further arguments of `TopK`; `kernel_initializer` is that of `W_1` and `W_2`.

    Call arguments:
        state: `(..., units)`, the state of the layer below, or None for zeros.

    Example:
        >>> router = RecurrentRouter(keras.layers.GRUCell(16, dtype="float32"), num_experts=4)
        >>> tuple(router(ops.ones((3, 5, 8))).state.shape)
        (3, 5, 16)
    """

    def __init__(
        self,
        cell: keras.layers.GRUCell | dict[str, Any] | None = None,
        k: int = 2,
        renormalize: bool = True,
        balance_loss_weight: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            k=k, renormalize=renormalize, balance_loss_weight=balance_loss_weight, **kwargs
        )
        self.cell = keras.layers.GRUCell(256, dtype="float32") if cell is None else revive(cell)
        if self.cell.compute_dtype != "float32":
            raise ValueError(
                '`cell` must be made with dtype="float32", as routers compute. '
                f"Received: {self.cell.compute_dtype}"
            )

    def build(self, input_shape: Any) -> None:
        units = self.cell.units
        super().build((None, units))
        self.input_kernel = self.add_weight(
            name="input_kernel",
            shape=(input_shape[-1], units),
            initializer=self.kernel_initializer.clone(),
        )
        if not self.cell.built:  # by the first of the routers that share it
            self.cell.build((None, units))

    def advance(self, inputs: RouterInputs) -> Any:
        x = ops.matmul(inputs.tokens, self.input_kernel)  # (tokens, units)
        below = ops.zeros_like(x)
        if inputs.state is not None:
            below = ops.reshape(inputs.state, ops.shape(x))
        return inputs.by_position(self.cell(x, [below], training=inputs.training)[0])

    def score(self, inputs: RouterInputs) -> Any:
        state = ops.reshape(inputs.state, (-1, self.cell.units))
        return super().score(inputs._replace(tokens=state))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": serialize_part(self.cell)}
