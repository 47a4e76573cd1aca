"""Banks of experts that each read a whole sequence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers import ExpertBank


class _SequenceExperts(ExpertBank):
    """Experts whose row is a sequence, laid flat: `steps * features` numbers.

    Args:
        num_experts: number of experts.
        steps: steps of a sequence.
        units: width of the answer, which is that of the last step.
    """

    def __init__(self, num_experts: int, steps: int, units: int, **kwargs: Any) -> None:
        super().__init__(num_experts, **kwargs)
        self.steps = steps
        self.units = units

    def features_out(self, features: int) -> int:
        return self.units

    def steps_of(self, x: Any) -> list[Any]:
        """The steps, `(..., rows, features)` each, of flat sequences."""
        features = x.shape[-1] // self.steps
        return [x[..., t * features : (t + 1) * features] for t in range(self.steps)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps, "units": self.units}


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class GRUExperts(_SequenceExperts):
    """Experts that are gated recurrent units; the answer is the last state.

    `z = sigmoid(x W_z + h U_z + b_z)`, `r` alike, `n = tanh(x W_n + r * (h U_n) + b_n)`,
    `h <- z h + (1 - z) n`.

    Source: Cho et al. 2014, arXiv 1406.1078, in the form with the reset gate after the product.

    Args:
        num_experts: number of experts.
        steps: steps of a sequence.
        units: width of the state.

    Call arguments:
        x: `(..., rows, steps * features)`; see `ExpertBank`.

    Example:
        >>> GRUExperts(2, steps=5, units=4)(keras.random.normal((1, 3, 5 * 8))).shape[-1]
        4
    """

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1] // self.steps
        self.add_stacked_weight("kernel", (features, 3 * self.units), self.kernel_initializer)
        self.add_stacked_weight("recurrent", (self.units, 3 * self.units), "orthogonal")
        self.add_stacked_weight("bias", (1, 3 * self.units), "zeros")
        self.built = True

    def compute(self, x: Any, *weights: Any) -> Any:
        kernel, recurrent, bias = weights
        state = None
        for step in self.steps_of(x):
            inputs = ops.split(ops.matmul(step, kernel) + bias, 3, axis=-1)
            if state is None:
                state = ops.zeros_like(inputs[0])
            carried = ops.split(ops.matmul(state, recurrent), 3, axis=-1)
            keep = ops.sigmoid(inputs[0] + carried[0])
            reset = ops.sigmoid(inputs[1] + carried[1])
            new = ops.tanh(inputs[2] + reset * carried[2])
            state = keep * state + (1 - keep) * new
        return state


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TCNExperts(_SequenceExperts):
    """Experts that are two causal convolutions of three taps, dilated 1 and 2.

    `relu(conv(relu(conv(x))))`, of which the last step is the answer; only what it depends on, the
    last seven steps, is computed. Beneath lies a TCN, so these see the whole history all the same.

    Source: Bai, Kolter & Koltun 2018, arXiv 1803.01271 (the convolutions).

    Args:
        num_experts: number of experts.
        steps: steps of a sequence, at least 7.
        units: width.

    Call arguments:
        x: `(..., rows, steps * features)`; see `ExpertBank`.

    Example:
        >>> TCNExperts(2, steps=8, units=4)(keras.random.normal((1, 3, 8 * 6))).shape[-1]
        4
    """

    def __init__(self, num_experts: int, steps: int, units: int, **kwargs: Any) -> None:
        super().__init__(num_experts, steps, units, **kwargs)
        if steps < 7:
            raise ValueError(f"`steps` must be at least 7. Received: {steps}")

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1] // self.steps
        for number in range(2):
            shape = (3 * features, self.units)
            self.add_stacked_weight(f"kernel_{number}", shape, "he_normal")
            self.add_stacked_weight(f"bias_{number}", (1, self.units), "zeros")
            features = self.units
        self.built = True

    def compute(self, x: Any, *weights: Any) -> Any:
        first, first_bias, second, second_bias = weights
        steps = self.steps_of(x)
        hidden = [
            ops.relu(ops.matmul(_taps(steps, last, 1), first) + first_bias) for last in (-5, -3, -1)
        ]
        return ops.relu(ops.matmul(ops.concatenate(hidden, axis=-1), second) + second_bias)


def _taps(steps: list[Any], last: int, dilation: int) -> Any:
    """Three steps, the last of them at index `last` (negative), side by side."""
    at = len(steps) + last
    return ops.concatenate([steps[at - 2 * dilation], steps[at - dilation], steps[at]], axis=-1)
