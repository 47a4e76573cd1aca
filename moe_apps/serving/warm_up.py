"""Requests that a model server runs before a version answers, so that no caller waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from moe_apps.serving.classify_signature import INPUTS

# The name that TensorFlow Serving looks for.
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(
    folder: Path, name: str, signatures: Mapping[str, Any], example: Mapping[str, Any]
) -> int:
    """Write one request for every signature whose inputs are all in the example.

    Args:
        folder: of the SavedModel.
        name: of the model.
        signatures: name to `inputs`, name to `dtype` and `shape`.
        example: arrays by input name.

    Returns:
        How many requests were written.
    """
    path = folder / WARM_UP
    path.parent.mkdir(exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, about in signatures.items():
            inputs = about["inputs"]
            if signature == "classify" and set(inputs) == {INPUTS}:
                continue  # its features are the inputs of another signature
            if inputs.keys() <= example.keys():
                writer.write(_predict(name, signature, inputs, example).SerializeToString())
                count += 1
    return count


def read_warm_up(folder: Path) -> Iterator[PredictionLog]:
    """Yield the requests of a SavedModel's folder; none where there is no file of them."""
    if (folder / WARM_UP).is_file():
        for record in tf.data.TFRecordDataset(str(folder / WARM_UP)).as_numpy_iterator():
            yield PredictionLog.FromString(record)


def _predict(
    name: str, signature: str, inputs: Mapping[str, Any], example: Mapping[str, Any]
) -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, spec in inputs.items():
        dtype = tf.as_dtype(spec["dtype"])
        request.inputs[key].CopyFrom(tf.make_tensor_proto(np.asarray(example[key]), dtype))
    return log
