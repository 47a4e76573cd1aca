"""From a request to its answer, whatever protocol it came by."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from moe_apps.serving.classify_signature import CLASSES, INPUTS, SCORES
from moe_apps.serving.server.batching import Batching, Task
from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.signature import DEFAULT, Signature
from moe_apps.serving.server.status import Code, StatusError, invalid

REGRESS_OUTPUT = "outputs"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """Which model, version and signature a request is for; empty means the default.

    Attributes:
        name: of the model.
        version: its number.
        label: name of a version, instead of its number.
        signature: name of the signature.
    """

    name: str
    version: int | None = None
    label: str = ""
    signature: str = ""


def start(
    batching: Batching,
    model: LoadedModel,
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    timeout: float,
    outputs: Sequence[str] = (),
) -> Future[Arrays]:
    """Check a request and queue it.

    Raises:
        StatusError: it does not fit the signature, or cannot be queued.
    """
    task = Task(
        model,
        signature,
        signature.checked(inputs),
        signature.chosen(outputs),
        time.monotonic() + timeout,
    )
    return batching.submit(task)


def classification(model: LoadedModel, name: str) -> Signature:
    """Return a signature that classifies serialized `tf.Example`s."""
    signature = _of_examples(model, name, "classification")
    if not {CLASSES, SCORES} & signature.outputs.keys():
        raise StatusError(
            Code.FAILED_PRECONDITION,
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature.name}',
        )
    return signature


def regression(model: LoadedModel, name: str) -> Signature:
    """Return a signature that gives one number for each serialized `tf.Example`."""
    signature = _of_examples(model, name, "regression")
    if REGRESS_OUTPUT not in signature.outputs:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"No regression outputs found in SignatureDef: {signature.name}",
        )
    return signature


def examples_tensor(examples: Sequence[bytes]) -> Arrays:
    """Return serialized examples as the input of such a signature."""
    if not examples:
        raise invalid("Input is empty.")
    return {INPUTS: np.array(examples, object)}


def classes_of(answer: Mapping[str, np.ndarray], count: int) -> list[list[tuple[bytes, float]]]:
    """Return label and score of each class, for each of `count` examples."""
    for name in (CLASSES, SCORES):
        if name in answer and (answer[name].ndim != 2 or len(answer[name]) != count):
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {answer[name].shape}"
            )
    given = next(iter(answer.values()))
    labels = answer.get(CLASSES, np.full(given.shape, b"", object))
    scores = answer.get(SCORES, np.zeros(given.shape, np.float32))
    if labels.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{labels.shape[1]} vs. {scores.shape[1]}"
        )
    return [
        list(zip(row, values, strict=True))
        for row, values in zip(labels.tolist(), scores, strict=True)  # float32, to be written short
    ]


def values_of(answer: Mapping[str, np.ndarray], count: int) -> list[float]:
    """Return the number for each of `count` examples."""
    values = answer[REGRESS_OUTPUT]
    if values.shape not in ((count,), (count, 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {values.shape}"
        )
    return list(values.reshape(count))


def _of_examples(model: LoadedModel, name: str, kind: str) -> Signature:
    signature: Any = model.signatures.get(name or DEFAULT)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if INPUTS not in signature.inputs or signature.inputs[INPUTS].dtype.name != "string":
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"No {kind} inputs found in SignatureDef: {signature.name}",
        )
    found: Signature = signature
    return found
