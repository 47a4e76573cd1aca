"""Requests that a model server runs before a version answers, so that no caller waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

# The name that TensorFlow Serving looks for.
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(
    folder: Path,
    name: str,
    signatures: Mapping[str, Any],
    example: Mapping[str, Any],
    works: Callable[[str, Mapping[str, Any]], bool] = lambda signature, inputs: True,
) -> int:
    """Write one request for every signature whose inputs are all in the example.

    Args:
        folder: of the SavedModel.
        name: of the model.
        signatures: name to `inputs`, name to `dtype` and `shape`.
        example: arrays by input name.
        works: whether a signature answers inputs; where it does not take the example, its first
            row is tried, since a model server does not serve a model whose requests fail.

    Returns:
        How many requests were written.
    """
    path = folder / WARM_UP
    path.parent.mkdir(exist_ok=True)
    first = {key: array[:1] if np.ndim(array) else array for key, array in example.items()}
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, about in signatures.items():
            if not about["inputs"].keys() <= example.keys():
                continue
            for given in (example, first):
                arrays = {
                    key: np.asarray(given[key], _numpy(spec["dtype"]))
                    for key, spec in about["inputs"].items()
                }
                if works(signature, arrays):
                    writer.write(_predict(name, signature, arrays).SerializeToString())
                    count += 1
                    break
    return count


def read_warm_up(folder: Path) -> Iterator[PredictionLog]:
    """Yield the requests of a SavedModel's folder; none where there is no file of them."""
    if (folder / WARM_UP).is_file():
        for record in tf.data.TFRecordDataset(str(folder / WARM_UP)).as_numpy_iterator():
            yield PredictionLog.FromString(record)


def _predict(name: str, signature: str, arrays: Mapping[str, np.ndarray]) -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, array in arrays.items():
        dtype = tf.string if array.dtype == object else None
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array, dtype, array.shape))
    return log


def _numpy(dtype: str) -> Any:
    return object if dtype == "string" else tf.as_dtype(dtype).as_numpy_dtype
