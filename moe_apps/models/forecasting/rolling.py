"""Forecasts of any horizon from a model that answers for a fixed number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops


def roll(
    block: Callable[[Any, Any, Any], Any],
    history: Any,
    horizon: Any,
    *,
    look_back: int,
    steps: int,
    mask: Any = None,
    known: Any = None,
    point: Callable[[Any], Any] | None = None,
    outputs: int = 0,
) -> Any:
    """Forecast `horizon` steps, `steps` at a time, each block from history and forecasts so far.

    A longer history is cut to the last `look_back` points; a shorter one is padded on the left
    with points that the mask hides.

    Args:
        block: `(window, mask, known)` to `(batch, steps)`: window and mask `(batch, look_back)`,
            known `(batch, look_back + steps, features)` or None.
        history: `(batch, time)`, any time >= 1.
        horizon: steps ahead, an int, or a scalar int tensor on TensorFlow.
        look_back: points that a block is made from.
        steps: steps of a block.
        mask: boolean `(batch, time)`, true for real points; None: all are real.
        known: `(batch, time + horizon, features)`, known beforehand; None: nothing is.
        point: of blocks `(batch, steps, outputs)` what is read again, `(batch, steps)`.
        outputs: numbers a step of such blocks; 0: blocks are `(batch, steps)`.

    Returns:
        `(batch, horizon)`, or `(batch, horizon, outputs)`; float32.

    Example:
        >>> last = lambda window, mask, known: ops.repeat(window[:, -1:] + 1, 2, axis=1)
        >>> roll(last, ops.zeros((1, 3)), 5, look_back=3, steps=2)[0].numpy().tolist()
        [1.0, 1.0, 2.0, 2.0, 3.0]
    """
    blocks = (horizon + steps - 1) // steps
    room = blocks * steps
    window, window_mask, seen = first_window(
        history, look_back=look_back, mask=mask, known=known, after=room - horizon
    )

    def answer(done: Any, window: Any, window_mask: Any) -> Any:
        part = None if seen is None else _columns(seen, done, look_back + steps)
        return block(window, window_mask, part)

    if isinstance(horizon, int) and horizon <= steps:
        return answer(0, window, window_mask)[:, :horizon]

    def unfinished(done: Any, *_: Any) -> Any:
        return done < horizon

    def step(done: Any, window: Any, window_mask: Any, forecast: Any) -> tuple[Any, ...]:
        new = answer(done, window, window_mask)
        read = new if point is None else point(new)
        fresh = ops.ones_like(read, dtype="bool")
        position = ops.arange(room, dtype="int32") - done
        placed = ops.take(new, ops.clip(position, 0, steps - 1), axis=1)
        here = ops.logical_and(position >= 0, position < steps)[None]
        return (
            done + steps,
            ops.concatenate([window, read], axis=1)[:, steps:],
            ops.concatenate([window_mask, fresh], axis=1)[:, steps:],
            ops.where(here[..., None] if outputs else here, placed, forecast),
        )

    start = (
        ops.zeros((), dtype="int32"),
        window,
        window_mask,
        ops.zeros((ops.shape(history)[0], room, *((outputs,) if outputs else ()))),
    )
    forecast = ops.while_loop(unfinished, step, start)[-1]
    return forecast[:, :horizon]


def first_window(
    history: Any, *, look_back: int, mask: Any = None, known: Any = None, after: Any = 0
) -> tuple[Any, Any, Any]:
    """The window that ends with the history, its mask, and what is known from its begin on.

    Args:
        history, look_back, mask, known: as in `roll`.
        after: steps of which nothing is known that are added behind `known`.

    Returns:
        Window and mask `(batch, look_back)`, known `(batch, look_back + ..., features)` or None.

    Example:
        >>> window, mask, _ = first_window(ops.ones((1, 2)), look_back=3)
        >>> mask[0].numpy().tolist()
        [False, True, True]
    """
    history = ops.cast(history, "float32")
    time = ops.shape(history)[1]
    mask = ops.ones_like(history, dtype="bool") if mask is None else ops.cast(mask, "bool")
    missing, first = _at_least_0(look_back - time), _at_least_0(time - look_back)

    def fitted(values: Any, after: Any = 0) -> Any:
        sides = ((0, 0), (missing, after), *((0, 0),) * (len(values.shape) - 2))
        return ops.pad(values, sides)

    if known is not None:
        known = fitted(ops.cast(known, "float32"), after)[:, first:]
    window, mask = (_columns(fitted(values), first, look_back) for values in (history, mask))
    return window, mask, known


def _at_least_0(number: Any) -> Any:
    # Where shapes are static they stay plain numbers: JAX pads by nothing else.
    return max(number, 0) if isinstance(number, int) else ops.maximum(number, 0)


def _columns(values: Any, first: Any, count: int) -> Any:
    """`count` columns from `first` on, with a static shape."""
    return ops.take(values, first + ops.arange(count, dtype="int32"), axis=1)
