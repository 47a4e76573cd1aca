"""The product of rows with a matrix, when there may be few rows."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.dispatch.compilation import compiles_with_static_shapes

FEW_ROWS = 160
"""From here on a processor takes longer to turn the rows than it saves (measured on a CPU)."""


def rows_product(rows: Any, kernel: Any) -> Any:
    """`rows kernel`, with a gradient of the rows that is fast for few of them too.

    That gradient is `g kernel'`, for which TensorFlow repacks the transposed matrix. With many
    experts the matrix is larger than the rows, and `(kernel g')'`, which turns the rows instead,
    takes a little over half the time. Which one is computed is seen at run time.

    Args:
        rows: `(rows, features)`, or any shape that `keras.ops.matmul` takes, as it is then used.
        kernel: `(features, units)`.

    Example:
        >>> rows_product(ops.ones((3, 2)), ops.ones((2, 4))).shape[-1]
        4
    """
    if len(rows.shape) != 2 or compiles_with_static_shapes():
        return ops.matmul(rows, kernel)

    @ops.custom_gradient
    def product(rows: Any, kernel: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return (
                _times_transposed(upstream, kernel),
                ops.matmul(ops.transpose(rows), upstream),
            )

        return ops.matmul(rows, kernel), gradient

    # A tensor, not the variable itself: custom gradients may not close over variables.
    return product(rows, ops.copy(kernel))


def _times_transposed(rows: Any, kernel: Any) -> Any:
    def turn_kernel() -> Any:
        return ops.matmul(rows, ops.transpose(kernel))

    def turn_rows() -> Any:
        return ops.transpose(ops.matmul(kernel, ops.transpose(rows)))

    count = ops.shape(rows)[0]
    if isinstance(count, int):
        return turn_rows() if count < FEW_ROWS else turn_kernel()
    return ops.cond(count < FEW_ROWS, turn_rows, turn_kernel)
