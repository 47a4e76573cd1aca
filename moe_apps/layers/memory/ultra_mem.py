"""A large table of values behind keys that a small core tensor combines."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.memory.memory_experts import MemoryExperts, take_rows
from moe_apps.layers.memory.product_keys import best_cells, pair_index
from moe_apps.layers.routing.losses import balance_loss, expert_load
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import LAYERS


@keras.saving.register_keras_serializable(package="moe_apps")
class ValueTable(keras.layers.Layer):
    """The rows that `UltraMem` reads: a value, and a vector that decides how much of it.

    Give one table to several `UltraMem` layers, each with its own `offset`, to hold all their
    rows in one weight.

    Args:
        rows: number of rows.
        value_dim: width of a value.
        gate_dim: width of the vector that is compared with the token.

    Example:
        >>> table = ValueTable(rows=32, value_dim=8, gate_dim=8)
        >>> layers = [UltraMem(num_keys=4, k=2, table=table, offset=o) for o in (0, 16)]
    """

    def __init__(self, rows: int, value_dim: int, gate_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if rows < 1:
            raise ValueError(f"`rows` must be at least 1. Received: {rows}")
        self.rows = rows
        self.value_dim = value_dim
        self.gate_dim = gate_dim

    def build(self, input_shape: Any = None) -> None:
        self.values = self._table("values", self.value_dim)
        self.gates = self._table("gates", self.gate_dim)
        self.built = True

    def _table(self, name: str, width: int) -> Any:
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        shape = (self.rows, width)
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def call(self, indices: Any) -> tuple[Any, Any]:
        rows = (
            take_rows(table, indices, self.compute_dtype) for table in (self.values, self.gates)
        )
        return tuple(rows)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rows": self.rows,
            "value_dim": self.value_dim,
            "gate_dim": self.gate_dim,
        }


@listed(
    LAYERS,
    "ultra_mem",
    paper="Huang et al. 2025, UltraMemV2, arXiv 2508.18756",
    purpose="very large memory table behind keys in rows and columns of a grid",
    interpretation=True,
)
class UltraMem(MemoryExperts):
    """Reads the k best rows of an `n x n` grid of values: `y = W sum s_ij gelu(x P . g_ij) v_ij`.

    Each axis of the grid has r scores a key, `s1_i` and `s2_j` in R^r, and cell `(i, j)` scores
    `s1_i^T C s2_j` with a small learned core C. The search is in two stages: with the leading
    singular vectors of C as weights, `u . s1_i` and `v . s2_j`, it takes the k best keys of
    either axis, and then the exact k best of these `k^2` cells. Where C has rank 1 and the
    scores are not negative this finds the best cells of the whole grid; otherwise the first
    stage is a heuristic. There are several cores: their sum does the search, and each weighs a
    part of the value with its own score.

    The singular vectors are found by squaring `C C^T` repeatedly, which are a few small
    products that compile everywhere, and pass no gradient; the scores do.

    Interpretation: queries and keys are normalised by their root mean square, `u` has its
    largest entry positive and `v = C^T u`, scores are used without softmax, cores start near a
    constant `1 / r`, and the balance loss is the mean over both axes. The source's shuffling of
    the rows is left out, as it changes only where they lie, and so is its convolution.

    Sources: Huang et al. 2024, "Ultra-Sparse Memory Network", arXiv 2411.12364; Huang et al.
    2025, "UltraMemV2", arXiv 2508.18756.

    Args:
        num_keys: keys of each axis, n; the grid has n^2 cells. Default 128.
        k: keys taken of each axis, and cells read, per head. Default 16.
        heads: independent searches. Default 1.
        key_dim: width of queries and keys. Default 512.
        value_dim: width of values, and
        gate_dim: of the vectors `g`, where the layer has its own table. Default 512.
        rank: r. Default 2.
        cores: number of cores; it divides the width of values. Default 2.
        balance_loss_weight: in training, weight of a loss that evens out the use of keys.
            Default 0.
        table: a `ValueTable` to share; None makes one of n^2 rows.
        offset: this layer's first row in the table. Default 0.
        kernel_initializer: of the matrices for queries, gates and outputs.

    See `MemoryExperts` for the call arguments; a weight is the sum over the cores.

    Example:
        >>> layer = UltraMem(num_keys=8, k=3, key_dim=4, value_dim=6, gate_dim=4)
        >>> tuple(layer(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        num_keys: int = 128,
        k: int = 16,
        heads: int = 1,
        key_dim: int = 512,
        value_dim: int = 512,
        gate_dim: int = 512,
        rank: int = 2,
        cores: int = 2,
        balance_loss_weight: float = 0.0,
        table: ValueTable | dict[str, Any] | None = None,
        offset: int = 0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(heads, k, **kwargs)
        if k > num_keys:
            raise ValueError(f"`k` is {k}, but an axis has only {num_keys} keys.")
        for name, value in (("rank", rank), ("cores", cores)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        self.table: Any = revive(table)
        self.rows: Any = self.table or ValueTable(
            num_keys**2, value_dim, gate_dim, dtype=self.dtype_policy
        )
        if self.rows.value_dim % cores:
            raise ValueError(
                f"`cores` must divide the width of values, {self.rows.value_dim}. Received: {cores}"
            )
        if offset < 0 or offset + num_keys**2 > self.rows.rows:
            raise ValueError(
                f"The table has {self.rows.rows} rows, but this layer needs {num_keys**2} from "
                f"`offset` on. Received: offset={offset}"
            )
        self.num_keys = num_keys
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.gate_dim = gate_dim
        self.rank = rank
        self.cores = cores
        self.balance_loss_weight = balance_loss_weight
        self.offset = offset
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        features, r = input_shape[-1], self.rank
        new = self.kernel_initializer.clone
        per_axis = (2, self.heads, r)
        width = 2 * self.heads * r * self.key_dim
        self.query = self.add_search_weight("query", (features, width), new())
        keys = (*per_axis, self.num_keys, self.key_dim)
        unit = keras.initializers.RandomNormal(stddev=1.0)
        self.keys = self.add_search_weight("keys", keys, unit)
        scale = keras.initializers.Constant(self.key_dim**-0.4)
        self.query_scale = self.add_search_weight("query_scale", (self.key_dim,), scale)
        self.key_scale = self.add_search_weight("key_scale", (self.key_dim,), scale)
        core = keras.initializers.RandomNormal(mean=1 / r, stddev=0.1 / r)
        self.core = self.add_search_weight("core", (self.cores, self.heads, r, r), core)
        shape = (features, self.rows.gate_dim)
        self.gate = self.add_weight(name="gate", shape=shape, initializer=new())
        shape = (self.rows.value_dim, features)
        self.output_kernel = self.add_weight(name="output", shape=shape, initializer=new())
        if not self.rows.built:
            self.rows.build()
        self.built = True

    def retrieve(self, tokens: Any, mask: Any, training: bool | None) -> tuple[Any, Any]:
        rows, columns = self._axis_scores(tokens)  # (tokens, heads, rank, keys) each
        u, v = leading_vectors(ops.stop_gradient(ops.sum(self.core, axis=0)))
        best, shares = [], []
        for scores, vector in ((rows, u), (columns, v)):
            weighed = ops.einsum("nhri,hr->nhi", scores, vector)
            best.append(ops.cast(ops.top_k(weighed, self.k)[1], "int32"))  # (tokens, heads, k)
            shares.append(weighed)
        if training and self.balance_loss_weight:
            self.add_loss(self._balance_loss(best, shares, mask))
        rows, columns = (
            ops.take_along_axis(scores, ops.repeat(index[:, :, None], self.rank, axis=2), axis=-1)
            for scores, index in zip((rows, columns), best, strict=True)
        )
        half = ops.einsum("nhri,chrs->nchsi", rows, self.core)
        grid = ops.einsum("nchsi,nhsj->nchij", half, columns)  # (tokens, cores, heads, k, k)
        cells = best_cells(ops.sum(grid, axis=1), self.k)[1]
        flat = ops.reshape(grid, (-1, self.cores, self.heads, self.k * self.k))
        chosen = ops.repeat(cells[:, None], self.cores, axis=1)
        weights = ops.take_along_axis(flat, chosen, axis=-1)  # (tokens, cores, heads, k)
        indices = pair_index(best[0], best[1], cells, self.num_keys)
        return indices, ops.moveaxis(weights, 1, -1)

    def _axis_scores(self, tokens: Any) -> tuple[Any, Any]:
        queries = ops.reshape(
            ops.matmul(tokens, self.query), (-1, 2, self.heads, self.rank, self.key_dim)
        )
        queries = ops.rms_normalization(queries, self.query_scale)
        keys = ops.rms_normalization(ops.convert_to_tensor(self.keys), self.key_scale)
        scores = ops.einsum("nahrc,ahric->nahri", queries, keys)
        return scores[:, 0], scores[:, 1]

    def _balance_loss(self, best: list[Any], shares: list[Any], mask: Any) -> Any:
        """Balance loss of the keys, each head's distribution counted as a token of its own."""
        real = None if mask is None else ops.repeat(mask, self.heads)
        total: Any = 0.0
        for index, scores in zip(best, shares, strict=True):
            index = ops.reshape(index, (-1, self.k))
            used = ops.ones_like(index, dtype="float32")
            if real is not None:
                used = used * ops.cast(real, "float32")[:, None]
            distribution = ops.reshape(ops.softmax(scores, axis=-1), (-1, self.num_keys))
            load = expert_load(index, used, self.num_keys)
            total = total + balance_loss(load, distribution, real)
        return self.balance_loss_weight * total / 2

    def read(self, tokens: Any, indices: Any, weights: Any) -> Any:
        values, gates = self.rows(indices + self.offset)  # (tokens, heads, k, width) each
        gate = ops.gelu(ops.einsum("nhkp,np->nhk", gates, ops.matmul(tokens, self.gate)))
        width = self.rows.value_dim // self.cores
        parts = ops.reshape(values, (-1, self.heads, self.k, self.cores, width))
        summed = ops.einsum("nhkcw,nhkc->ncw", parts, weights * gate[..., None])
        return ops.matmul(ops.reshape(summed, (-1, self.rows.value_dim)), self.output_kernel)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_keys": self.num_keys,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "gate_dim": self.gate_dim,
            "rank": self.rank,
            "cores": self.cores,
            "balance_loss_weight": self.balance_loss_weight,
            "table": serialize_part(self.table),
            "offset": self.offset,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def leading_vectors(core: Any, squarings: int = 10) -> tuple[Any, Any]:
    """Leading singular vectors `(..., r)` of small matrices `(..., r, r)`, left and right.

    Squaring `C C^T` ten times is a power iteration of 1024 steps. The largest entry of the left
    vector is positive.

    Example:
        >>> u, v = leading_vectors(ops.array([[0.0, 2.0], [0.0, 0.0]]))
        >>> [float(value) for value in u], [float(value) for value in v]
        ([1.0, 0.0], [0.0, 1.0])
    """
    power = ops.matmul(core, ops.swapaxes(core, -1, -2))
    for _ in range(squarings):
        largest = ops.max(ops.abs(power), axis=(-1, -2), keepdims=True)
        power = power / ops.maximum(largest, 1e-30)
        power = ops.matmul(power, power)
    # All columns are multiples of the vector; the one with the largest diagonal is no small one.
    diagonal = ops.diagonal(power, axis1=-2, axis2=-1)
    column = ops.argmax(diagonal, axis=-1)
    u = _unit(ops.sum(power * ops.one_hot(column, core.shape[-1])[..., None, :], axis=-1))
    return u, _unit(ops.einsum("...rs,...r->...s", core, u))


def _unit(vector: Any) -> Any:
    norm = ops.sqrt(ops.sum(ops.square(vector), axis=-1, keepdims=True))
    return vector / ops.maximum(norm, 1e-30)
