"""Groups of rows beyond an expert's first, as many as a step turns out to need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from moe_apps.layers.dispatch.compilation import vjp


class ExtraGroups(NamedTuple):
    """Groups that are computed only from `start` to `end`; the others give 0.

    Attributes:
        rows: `(groups, rows, features)`.
        expert_ids: `(groups,)` int32, ascending: the expert that serves each group.
        start: scalar, the first group to compute.
        end: scalar, one past the last group to compute.
    """

    rows: Any
    expert_ids: Any
    start: Any
    end: Any


def run_with_extra_groups(
    compute: Callable[..., Any], rows: Any, extra: ExtraGroups, weights: list[Any]
) -> tuple[Any, Any]:
    """Outputs of one group for each expert, and of the extra groups, by a loop over those.

    Shapes stay static, and groups that are not needed cost nothing. The gradient of the weights
    is that of the first groups, to which the loop adds in place: a copy of the weights for each
    group, as a gather makes it, would cost more than the experts. Activations of the extra
    groups are computed again for the gradient.

    Args:
        compute: `compute(x, *weights)` of a bank, for one expert and for all at once.
        rows: `(experts, rows, features)`.
        extra: the extra groups.
        weights: tensors `(experts, ...)`.

    Returns:
        `(experts, rows, features_out)` and `(groups, rows, features_out)`.
    """
    expert_ids, start, end = extra.expert_ids, extra.start, extra.end

    @ops.custom_gradient
    def run(rows: Any, extra_rows: Any, *weights: Any) -> Any:
        outputs, pull = vjp(compute, rows, *weights)

        def forward(group: Any, outputs: Any) -> Any:
            expert = _read(expert_ids, group)
            own = [_read(weight, expert) for weight in weights]
            return _write(outputs, group, compute(_read(extra_rows, group), *own))

        shape = (*ops.shape(extra_rows)[:2], *outputs.shape[2:])
        extra_outputs = ops.fori_loop(start, end, forward, ops.zeros(shape, outputs.dtype))

        def gradient(*args: Any, upstream: Any = None) -> Any:
            args = args if upstream is None else upstream
            # One by one from TensorFlow, as one tuple from JAX.
            from_first, from_extra = args if len(args) == 2 else args[0]
            to_rows, *to_weights = pull(from_first)

            def backward(group: Any, sums: Any) -> Any:
                to_extra, *to_weights = sums
                expert = _read(expert_ids, group)
                own = [_read(weight, expert) for weight in weights]
                _, pull = vjp(compute, _read(extra_rows, group), *own)
                to_group, *to_own = pull(_read(from_extra, group))
                added = [
                    _write(total, expert, _read(total, expert) + part)
                    for total, part in zip(to_weights, to_own, strict=True)
                ]
                return (_write(to_extra, group, to_group), *added)

            sums = (ops.zeros_like(extra_rows), *to_weights)
            to_extra, *to_weights = ops.fori_loop(start, end, backward, sums)
            return (to_rows, to_extra, *to_weights)

        return (outputs, extra_outputs), gradient

    return run(rows, extra.rows, *weights)


def _read(values: Any, index: Any) -> Any:
    """`values[index]`; not by `take`, which may fill what it takes for out of bounds."""
    shape = values.shape[1:]
    return ops.reshape(ops.slice(values, (index, *(0 for _ in shape)), (1, *shape)), shape)


def _write(values: Any, index: Any, value: Any) -> Any:
    return ops.slice_update(values, (index, *(0 for _ in value.shape)), value[None])
