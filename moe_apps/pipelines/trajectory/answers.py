"""What is predicted for windows, by models and by baselines alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.models.trajectory import TrajectoryModel
from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.models.trajectory.trajectory_model import point_forecast
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.trajectory.windows import Windows

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Answer:
    """Predictions for `n` windows, in metres from the last position.

    Attributes:
        forecast: `[n, horizon, 2]`, the point forecast; None if none is made.
        modes: `[n, modes, horizon, 2]`, one for each intention, or one.
        probability: `[n, 3]` of the intentions; None if none is given.
        deviation: `[n, modes, horizon, 2]` and
        correlation: `[n, modes, horizon]` of the Gaussian of each step; None for a point forecast.
        gates: `[n, 3, experts]`, weights of the experts for each task; None without experts.
    """

    forecast: Floats | None = None
    modes: Floats | None = None
    probability: Floats | None = None
    deviation: Floats | None = None
    correlation: Floats | None = None
    gates: Floats | None = None

    @property
    def mode_probability(self) -> Floats | None:
        """Probability of each mode `[n, modes]`."""
        if self.modes is None:
            return None
        if self.modes.shape[1] == 1 or self.probability is None:
            return np.ones(self.modes.shape[:2])
        return self.probability

    def take(self, index: Any) -> Answer:
        """Return the predictions of these windows."""
        return Answer(
            **{
                name: None if (values := getattr(self, name)) is None else values[index]
                for name in self.__dataclass_fields__
            }
        )


def tensors(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an `Answer`, from the outputs of a `TrajectoryModel`, still as tensors.

    Example:
        >>> from moe_apps.models.trajectory import tmmoe
        >>> model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0)
        >>> sorted(tensors(model(model.example())))
        ['correlation', 'deviation', 'forecast', 'gates', 'modes', 'probability']
    """
    answer = {
        "forecast": point_forecast(dict(outputs)),
        "modes": ops.stack([outputs[task] for task in TASKS[:2]], axis=-1),
        "probability": ops.softmax(outputs["intention"]),
    }
    extra = ("deviation", "correlation", "gates")
    return answer | {name: outputs[name] for name in extra if name in outputs}


def answering(model: TrajectoryModel, batch_size: int) -> Callable[[Windows], Answer]:
    """A model as a function of windows, in batches of one shape."""
    run = in_batches(model, lambda inputs: tensors(model(inputs, training=False)), batch_size)
    return lambda windows: Answer(**run(windows.inputs))
