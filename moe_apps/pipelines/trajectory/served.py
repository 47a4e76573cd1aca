"""What a trained trajectory model answers with once it is exported: metres in, metres out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from moe_apps.models.trajectory import TMMOEEncoder, TrajectoryModel
from moe_apps.models.trajectory.tasks import INTENTIONS, NEIGHBOURS, TASKS
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.trajectory.answers import tensors
from moe_apps.pipelines.trajectory.neighbours import SLOTS

RULES = (
    "Positions are metres in any frame of the road: the first coordinate along the driving "
    "direction, the second to its left; only differences count. Near 0 is best: float32 has "
    "steps of 6 cm at 1,000,000 m.",
    "Steps are 1 / rate seconds apart, oldest first; the last one is the present.",
    "Neighbours are those of the present, with their past: where one was not seen, present is 0 "
    "and its position is not read.",
    "Unknown: lane_offset NaN or 1000 (JSON has no NaN), lanes_beside 0, length NaN or 0.",
    "A vehicle's answer does not depend on the others in its batch.",
)


def inputs_of(model: TrajectoryModel) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape (without the batch) and meaning of each input.

    Example:
        >>> from moe_apps.models.trajectory import tmmoe
        >>> inputs_of(tmmoe("tiny", history_steps=8, horizon=5, rate=5.0))["ego"][0]
        (8, 2)
    """
    steps = model.history_steps
    inputs = {
        "ego": ((steps, 2), "positions of the vehicle"),
        "neighbours": (
            (steps, NEIGHBOURS, 2),
            f"positions of the nearest vehicles: {', '.join(SLOTS)}",
        ),
        "present": ((steps, NEIGHBOURS), "1 where a neighbour was seen, else 0"),
        "lane_offset": ((steps,), "metres that the vehicle is left of its lane's centre"),
        "lanes_beside": ((steps, 2), "1 where there is a lane to the left, to the right, else 0"),
        "length": ((), "length of the vehicle in metres"),
    }
    if model.site_embedding is not None:
        inputs["site"] = ((), "number of the site in the card's sites, from 1; 0 for another one")
    return inputs


def outputs_of(model: TrajectoryModel) -> dict[str, str]:
    """Meaning of each output."""
    outputs = {
        "forecast": "[batch, horizon, 2]: positions of the next steps, in the inputs' frame",
        "modes": f"[batch, {model.modes}, horizon, 2]: positions for each intention"
        if model.multimodal
        else "[batch, 1, horizon, 2]: the forecast",
        "probability": f"[batch, 3]: of {', '.join(INTENTIONS)} within the intention window",
    }
    if model.gaussian:
        outputs["deviation"] = "[batch, modes, horizon, 2]: standard deviation around each mode"
        outputs["correlation"] = "[batch, modes, horizon]: between along and across"
    return outputs


def served_model(
    model: TrajectoryModel,
    *,
    example: Mapping[str, npt.NDArray[np.generic]],
    card: Mapping[str, Any],
) -> Served:
    """Join a model with the caller's frame, as functions of TensorFlow tensors.

    `serving_default` gives trajectories and intention; `explain` adds `gates`, the weight that
    each expert had for each task, where the model has gates.

    Args:
        model: the trained model.
        example: one valid input.
        card: facts for people on data and results; inputs, outputs and rules are added.

    Example:
        >>> from moe_apps.models.trajectory import tmmoe
        >>> model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0)
        >>> one = served_model(
        ...     model, example={k: v.numpy() for k, v in model.example().items()}, card={}
        ... )
        >>> one.signatures["serving_default"](**one.example)["forecast"].shape.as_list()
        [1, 5, 2]
    """
    inputs = inputs_of(model)
    signature = [
        tf.TensorSpec((None, *shape), tf.int32 if name == "site" else tf.float32, name=name)
        for name, (shape, _) in inputs.items()
    ]

    def answer(values: Mapping[str, Any]) -> dict[str, Any]:
        found = tensors(model(dict(values), training=False))
        origin = values["ego"][:, -1]
        found["forecast"] += origin[:, None]
        found["modes"] += origin[:, None, None]
        return found

    def signature_of(explained: bool) -> Any:
        @tf.function(input_signature=signature, autograph=False)
        def call(
            ego: Any,
            neighbours: Any,
            present: Any,
            lane_offset: Any,
            lanes_beside: Any,
            length: Any,
            site: Any = None,
        ) -> dict[str, Any]:
            given = (ego, neighbours, present, lane_offset, lanes_beside, length, site)
            found = answer(dict(zip(inputs, given, strict=False)))
            if not explained:
                found.pop("gates", None)
            return found

        return call

    outputs = outputs_of(model)
    shown = dict(outputs)
    if isinstance(model.encoder, TMMOEEncoder):
        shown["gates"] = (
            f"[batch, {len(TASKS)}, experts], in explain: weight of each expert for "
            f"{', '.join(TASKS)}"
        )
    return Served(
        model,
        {"serving_default": signature_of(False), "explain": signature_of(True)},
        dict(example),
        {
            **card,
            "intentions": list(INTENTIONS),
            "neighbours": list(SLOTS),
            "inputs": {
                name: f"[{', '.join(['batch', *map(str, shape)])}]: {text}"
                for name, (shape, text) in inputs.items()
            },
            "outputs": shown,
            "rules": list(RULES),
        },
    )
