"""What is said of segments, by networks and baselines alike, and of whole recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.models.acoustic import CMoE
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.inference import in_batches

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """Answers for `n` segments or recordings.

    Attributes:
        probability: `[n, classes]`, rows sum to 1.
        calibrated: whether they are meant as probabilities.
        embedding: `[n, d]` of a network, else None.
        share: `[n, experts]`, of the answer that each expert gave; None without experts.
    """

    probability: Floats
    calibrated: bool = True
    embedding: Floats | None = None
    share: Floats | None = None


def answering(model: CMoE, batch_size: int) -> Callable[[Segments], Answer]:
    """A function of segments to a network's answer."""

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = model(inputs, training=False)
        return {
            "probability": ops.softmax(outputs["logits"]),
            "embedding": outputs["embedding"],
            "share": expert_share(outputs["expert_weights"]),
        }

    run = in_batches(model, answer, batch_size)
    routed = model.settings["num_experts"] > 1

    def of(segments: Segments) -> Answer:
        found = run({name: segments.inputs[name] for name in model.scales})
        return Answer(
            found["probability"], True, found["embedding"], found["share"] if routed else None
        )

    return of


def expert_share(weights: Any) -> Any:
    """Weights `(batch, experts)` of a gate, scaled so that each row sums to 1."""
    size = ops.abs(weights)
    return size / ops.maximum(ops.sum(size, axis=-1, keepdims=True), 1e-12)


def by_recording(answer: Answer, recording: Ints) -> tuple[Answer, Ints]:
    """The mean answer of each recording's segments, and the recordings' numbers.

    Example:
        >>> answer = Answer(np.array([[1.0, 0.0], [0.6, 0.4], [0.0, 1.0]]))
        >>> mean, numbers = by_recording(answer, np.array([4, 4, 9]))
        >>> mean.probability.tolist(), numbers.tolist()
        ([[0.8, 0.2], [0.0, 1.0]], [4, 9])
    """
    numbers, place = np.unique(recording, return_inverse=True)
    counts = np.bincount(place)[:, None]

    def mean(values: Floats | None) -> Any:
        if values is None:
            return None
        total = np.zeros((len(numbers), values.shape[1]))
        np.add.at(total, place, values)
        return total / counts

    return (
        Answer(
            mean(answer.probability), answer.calibrated, mean(answer.embedding), mean(answer.share)
        ),
        numbers,
    )
