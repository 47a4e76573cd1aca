"""Writes a trained run as a TensorFlow SavedModel that needs nothing of this package."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from moe_apps import __version__
from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.domain import Domain, Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS
from moe_apps.serving.version_folders import digests, publish

CARD = "MODEL.json"
# TensorFlow Serving leaves this folder alone but for its own warm-up file.
EXAMPLE = Path("assets.extra", "example.json")
TOLERANCE = 1e-4  # of the largest value, between the model in memory and the one read back


def export(run: RunFolder, to: Path, version: int | None = None) -> Path:
    """Write `to`/<version>/ and return that folder; a model server may be watching `to`.

    Beside the SavedModel, the folder has `MODEL.json` (what goes in and comes out, data, results,
    versions, digests of all files), `assets.extra/example.json` (a request to TensorFlow Serving's
    REST interface) and the requests that TensorFlow Serving warms a model up with. It appears
    under its name only when all of it is written and the model, read back, gives the example's
    answer again.

    Args:
        run: a trained run.
        to: base folder of the model, made if need be.
        version: at least 1; by default one more than the highest that is there.

    Raises:
        RunError: the version exists, the folder cannot be written, the model read back answers
            differently, or Keras runs on another backend than TensorFlow.

    Example:
        >>> export(RunFolder.open(Path("runs/forecasting/ett")), Path("served"))  # doctest: +SKIP
        PosixPath('served/1')
    """
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RunError(
            f"{run.path}: cannot be exported with Keras on {backend}: only TensorFlow writes a "
            "SavedModel; set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    domain: Domain = DOMAINS.get(str(run.read_details().get("domain")))
    card: dict[str, Any] = {}

    def write(folder: Path) -> None:
        import tensorflow as tf

        from moe_apps.serving.warm_up import write_warm_up

        served = domain.served(run)
        _write(served, folder)
        model = tf.saved_model.load(folder)
        _check(model, served, to)
        signatures = _signatures(model)
        (folder / EXAMPLE).parent.mkdir(exist_ok=True)
        write_json(folder / EXAMPLE, {"inputs": served.example})

        def works(signature: str, inputs: Mapping[str, Any]) -> bool:
            try:
                model.signatures[signature](**_tensors(inputs))
            except tf.errors.InvalidArgumentError:
                return False
            return True

        write_warm_up(folder, domain.name, signatures, served.example, works)
        card.update(_card(run, domain, served, signatures), files=digests(folder))

    def finish(folder: Path, number: int) -> None:
        write_json(folder / CARD, {"name": domain.name, "version": number, **card})

    return publish(to, version, write, finish)


def _write(served: Served, folder: Path) -> None:
    """Only the variables that the signatures use are written: no optimizer, no metrics."""
    import keras
    import tensorflow as tf

    from moe_apps.serving.classify_signature import classify_signature

    archive = keras.export.ExportArchive()
    for resource in served.resources:
        archive.track(resource)
    for name, function in served.signatures.items():
        archive.add_endpoint(name, _in_float32(function), function.input_signature)  # type: ignore[attr-defined]
    if served.classification is not None:
        classify = classify_signature(served, served.classification)
        archive.add_endpoint("classify", classify, classify.input_signature)  # type: ignore[attr-defined]
    # Nobody trains what is served: gradients would take half of the time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        archive.write_out(folder, options, verbose=False)
    except tf.errors.OpError as error:  # how TensorFlow says that a disk is full
        raise OSError(errno.EIO, str(error).splitlines()[0]) from None


def _in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    # TensorFlow Serving's JSON knows no half or bfloat16.
    @functools.wraps(function.python_function)  # type: ignore[attr-defined]
    def call(*arguments: Any, **named: Any) -> dict[str, Any]:
        outputs = function(*arguments, **named)
        return {
            name: tf.cast(value, tf.float32) if value.dtype.is_floating else value
            for name, value in outputs.items()
        }

    return call


def _check(model: Any, served: Served, to: Path) -> None:
    """Ask the model read back for the example's answer."""
    import numpy as np

    example = _tensors(served.example)
    expected = served.signatures["serving_default"](**example)
    answer = model.signatures["serving_default"](**example)
    for name, value in expected.items():
        if not _same(np.asarray(answer[name]), np.asarray(value)):
            raise RunError(f"{to}: the exported model's {name!r} differs from the run's")


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.constant(value) for name, value in arrays.items()}


def _signatures(model: Any) -> dict[str, Any]:
    return {
        name: {
            "inputs": _specs(function.structured_input_signature[1]),
            "outputs": _specs(function.structured_outputs),
        }
        for name, function in model.signatures.items()
    }


def _same(answer: Any, expected: Any) -> bool:
    import numpy as np

    if answer.dtype.kind != "f":
        return np.array_equal(answer, expected)
    expected = expected.astype(answer.dtype)
    largest = np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)
    return np.allclose(answer, expected, rtol=0, atol=TOLERANCE * largest, equal_nan=True)


def _specs(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in tensors.items()
    }


def _card(
    run: RunFolder, domain: Domain, served: Served, signatures: Mapping[str, Any]
) -> dict[str, Any]:
    metrics = run.read_metrics() if run.metrics_file.is_file() else {}
    details = run.read_details()
    key = domain.headline
    results = {
        "metric": key,
        "higher_is_better": domain.higher_is_better,
        "test": (metrics.get("test") or {}).get(key),
        "dense_twin": (metrics.get("dense_twin") or {}).get(key),
        "baselines": {
            name: values.get(key) for name, values in (metrics.get("baselines") or {}).items()
        },
    }
    return {
        "title": domain.title,
        "exported": datetime.now().astimezone().isoformat(timespec="seconds"),
        # Not all details: the tracking address may hold a password.
        "run": {name: details.get(name) for name in ("created", "mlflow_run")},
        "made_with": {
            "moe_apps": __version__,
            **{package: installed(package) for package in ("keras", "tensorflow")},
        },
        "licence": "the weights follow the terms of the training data",
        **served.card,
        "results": results,
        "signatures": signatures,
        "example": str(EXAMPLE),
    }
