"""Sorted pairs cut at run time: each expert gets exactly its rows."""

from __future__ import annotations

from typing import Any

from keras import ops


def run_slices(tokens: Any, expert: Any, experts: Any, weights: Any) -> Any:
    """Outputs `(tokens, features_out)`; pairs that are not computed are not even moved.

    XLA refuses to compile this, because the sizes of the pieces are values.

    Args:
        tokens: `(tokens, features)`.
        expert: `(k * tokens,)` int32 expert of each pair, choice-major; `experts.num_experts`
            for a pair that is not computed.
        experts: the bank.
        weights: `(tokens, k)`.
    """
    num_tokens, num_experts = ops.shape(tokens)[0], experts.num_experts
    count = ops.segment_sum(ops.ones_like(expert), expert, num_experts + 1)[:-1]  # (experts,)
    ends = ops.cumsum(count)
    pair = ops.argsort(expert)[: ends[-1]]  # those without an expert stand behind
    token = ops.mod(pair, ops.maximum(num_tokens, 1))
    rows = _cut(_take_rows(tokens, token), count, ends)
    outputs = ops.concatenate(experts(rows), axis=0)
    weight = ops.take(ops.reshape(ops.transpose(weights), (-1,)), pair)
    outputs = outputs * ops.cast(weight, outputs.dtype)[:, None]
    return ops.segment_sum(outputs, token, num_tokens)


def _take_rows(tokens: Any, index: Any) -> Any:
    """`tokens[index]`, with a dense gradient."""

    @ops.custom_gradient
    def take(tokens: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return ops.segment_sum(upstream, index, ops.shape(tokens)[0])

        return ops.take(tokens, index, axis=0), gradient

    return take(tokens)


def _cut(rows: Any, count: Any, ends: Any) -> list[Any]:
    """Consecutive pieces of `rows`, `count[e]` rows each; the gradient is one concatenation."""
    features = rows.shape[-1]

    @ops.custom_gradient
    def cut(rows: Any) -> Any:
        pieces = tuple(
            ops.slice(rows, (ends[e] - count[e], 0), (count[e], features))
            for e in range(count.shape[0])
        )

        def gradient(*args: Any, upstream: Any = None) -> Any:
            return ops.concatenate(args if upstream is None else upstream, axis=0)

        return pieces, gradient

    return list(cut(rows))
