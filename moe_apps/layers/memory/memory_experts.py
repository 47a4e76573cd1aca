"""The memory layer contract: retrieve a few of very many small experts, read them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class MemoryExperts(keras.layers.Layer):
    """Looks up a few of very many small experts for each token and sums what they say.

    The experts are rows of tables, gathered by index: no dispatch, no capacity, no drops. A
    subclass defines `retrieve`, whose arithmetic is float32 under every dtype policy, since
    a half-precision search finds other experts, and `read`.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens. Padding gets 0 and enters no loss.
        return_routing: also return `{"indices", "weights"}`, `(..., heads, k)` int32 and
            float32: what was looked up and how it was weighed.

    Returns:
        `(..., features)`, or a tuple of that and the routing.
    """

    def __init__(self, heads: int, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("heads", heads), ("k", k)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        self.supports_masking = True
        self.heads = heads
        self.k = k

    def add_search_weight(self, name: str, shape: Any, initializer: Any) -> Any:
        """A weight that `retrieve` reads in float32 under every dtype policy."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

    def retrieve(self, tokens: Any, mask: Any, training: bool | None) -> tuple[Any, Any]:
        """Indices `(tokens, heads, k)` int32, weights `(tokens, heads, k)` or with more axes."""
        raise NotImplementedError(f"{type(self).__name__} must define `retrieve`.")

    def read(self, tokens: Any, indices: Any, weights: Any) -> Any:
        """Outputs `(tokens, features)` of the experts found."""
        raise NotImplementedError(f"{type(self).__name__} must define `read`.")

    def call(
        self,
        x: Any,
        mask: Any = None,
        return_routing: bool = False,
        training: bool | None = None,
    ) -> Any:
        tokens = ops.reshape(x, (-1, x.shape[-1]))
        mask = None if mask is None else ops.reshape(ops.cast(mask, "bool"), (-1,))
        indices, weights = self.retrieve(ops.cast(tokens, "float32"), mask, training)
        if mask is not None:
            real = ops.reshape(mask, (-1, *(1,) * (len(weights.shape) - 1)))
            weights = ops.where(real, weights, 0.0)
        outputs = self.read(tokens, indices, ops.cast(weights, tokens.dtype))
        outputs = ops.reshape(outputs, ops.shape(x))
        if not return_routing:
            return outputs
        total = weights if len(weights.shape) == 3 else ops.sum(weights, axis=-1)
        shape = (*ops.shape(x)[:-1], self.heads, self.k)
        return outputs, {
            "indices": ops.reshape(indices, shape),
            "weights": ops.reshape(total, shape),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "k": self.k}


def take_rows(table: Any, indices: Any, dtype: Any) -> Any:
    """Rows of a table, cast after the look-up, so that the table itself is never copied.

    Args:
        table: a weight `(rows, ...)` made with `autocast=False`.
        indices: int.
        dtype: of the rows returned.
    """
    return ops.cast(ops.take(table, indices, axis=0), dtype)
