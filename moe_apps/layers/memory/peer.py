"""A million experts of one neuron each."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.memory.memory_experts import MemoryExperts, take_rows
from moe_apps.layers.memory.product_keys import product_key_top_k
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "peer",
    paper="He 2024, arXiv 2407.04153",
    purpose="up to a million experts of one neuron, found by product keys",
)
class PEER(MemoryExperts):
    """Each head finds k single-neuron experts of very many: `y = sum w_e u_e act(v_e . x)`.

    A head's query is split in halves, and expert `i * n + j` of `n^2` scores
    `q1 . key1_i + q2 . key2_j`, so that the k best are found among `2 n` scores. The weights
    are the softmax over a head's k scores.

    Source: He 2024, "Mixture of A Million Experts", arXiv 2407.04153.

    Args:
        num_experts: number of experts, a square. Default 1024.
        heads: independent retrievals for each token. Default 8.
        k: experts per head. Default 16.
        key_dim: width of half a query. Default 64.
        activation: of the neurons. Default "gelu".
        scores: "softmax" weighs a head's experts against each other, "relu" each by itself.
        kernel_initializer: of the query matrix and the keys.

    See `MemoryExperts` for the call arguments.

    Example:
        >>> layer = PEER(num_experts=64, heads=2, k=3, key_dim=4)
        >>> tuple(layer(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        num_experts: int = 1024,
        heads: int = 8,
        k: int = 16,
        key_dim: int = 64,
        activation: Any = "gelu",
        scores: Literal["softmax", "relu"] = "softmax",
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(heads, k, **kwargs)
        if num_experts < 1 or math.isqrt(num_experts) ** 2 != num_experts:
            raise ValueError(f"`num_experts` must be a square. Received: {num_experts}")
        if k > num_experts:
            raise ValueError(f"`k` is {k}, but there are only {num_experts} experts.")
        if scores not in ("softmax", "relu"):
            raise ValueError(f'`scores` must be "softmax" or "relu". Received: {scores!r}')
        self.num_experts = num_experts
        self.key_dim = key_dim
        self.activation = keras.activations.get(activation)
        self.scores = scores
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        features, side = input_shape[-1], math.isqrt(self.num_experts)
        new = self.kernel_initializer.clone
        width = self.heads * 2 * self.key_dim
        self.query = self.add_search_weight("query", (features, width), new())
        self.keys = self.add_search_weight("keys", (self.heads, 2, side, self.key_dim), new())
        table = keras.initializers.RandomNormal(stddev=features**-0.5)
        shape = (self.num_experts, features)
        self.down = self.add_weight(name="down", shape=shape, initializer=table, autocast=False)
        table = keras.initializers.RandomNormal(stddev=(self.heads * self.k) ** -0.5)
        self.up = self.add_weight(name="up", shape=shape, initializer=table, autocast=False)
        self.built = True

    def retrieve(self, tokens: Any, mask: Any, training: bool | None) -> tuple[Any, Any]:
        queries = ops.matmul(tokens, self.query)
        queries = ops.reshape(queries, (-1, self.heads, 2, self.key_dim))
        scores = ops.einsum("nhac,haic->nhai", queries, self.keys)  # (tokens, heads, 2, side)
        values, indices = product_key_top_k(scores[:, :, 0], scores[:, :, 1], self.k)
        if self.scores == "relu":
            return indices, ops.relu(values)
        return indices, ops.softmax(values, axis=-1)

    def read(self, tokens: Any, indices: Any, weights: Any) -> Any:
        down = take_rows(self.down, indices, tokens.dtype)  # (tokens, heads, k, features)
        hidden = self.activation(ops.einsum("nhkd,nd->nhk", down, tokens))
        up = take_rows(self.up, indices, tokens.dtype)
        return ops.einsum("nhkd,nhk->nd", up, weights * hidden)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "key_dim": self.key_dim,
            "activation": keras.activations.serialize(self.activation),
            "scores": self.scores,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
