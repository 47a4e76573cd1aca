"""One version of a model in memory, run as TensorFlow Serving runs it: in a session."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from moe_apps.serving.server.signature import Signature, find
from moe_apps.serving.server.status import Code, StatusError
from moe_apps.serving.warm_up import read_warm_up

_NODES = re.compile(r"\s*\[\[.*?\]\]")


class LoadedModel:
    """A SavedModel that answers until the last who uses it has let go.

    A session, unlike the functions that `tf.saved_model.load` gives, ends a run at its time-out.

    Args:
        name: of the model.
        version: of the model.
        folder: of the SavedModel.

    Raises:
        StatusError: it cannot be loaded, or a request it comes with fails.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name = name
        self.version = version
        self._lock = threading.Lock()
        self._users = 1  # the one who loads it
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(folder)
                )
            graph.finalize()
            self.definitions = meta.signature_def
            self.signatures = {
                key: Signature.of(key, definition)
                for key, definition in meta.signature_def.items()
                if not key.startswith("__saved_model")
            }
            self._warm_up(folder)
        except Exception as error:
            self._session.close()
            raise _status(error) from None

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Answer arrays that `Signature.checked` has passed.

        Args:
            signature: one of this model's.
            inputs: arrays for all its inputs.
            outputs: names of the outputs that are wanted.
            timeout: seconds.

        Raises:
            StatusError: with the code that TensorFlow gives, such as DEADLINE_EXCEEDED.
        """
        feeds = {signature.inputs[name].tensor: array for name, array in inputs.items()}
        fetches = [signature.outputs[name].tensor for name in outputs]
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(int(timeout * 1000), 1))
        try:
            values = self._session.run(fetches, feeds, options=options)
        except Exception as error:
            raise _status(error) from None
        return {
            name: np.asarray(value, object if signature.outputs[name].dtype == tf.string else None)
            for name, value in zip(outputs, values, strict=True)
        }

    def hold(self) -> LoadedModel:
        """Keep the model in memory until `release` is called."""
        with self._lock:
            if not self._users:
                raise StatusError(Code.UNAVAILABLE, f"{self.name} {self.version} is unloaded")
            self._users += 1
        return self

    def release(self) -> None:
        """Undo a `hold`, or the loading; the last one frees the memory."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._session.close()

    def _warm_up(self, folder: Path) -> None:
        for log in read_warm_up(folder):
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = log.predict_log.request
            signature = find(self.signatures, request.model_spec.signature_name)
            given = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(signature, signature.checked(given), tuple(signature.outputs), timeout=60)


def _status(error: Exception) -> StatusError:
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        # The session wraps the error into one that tells where in the program the node was made.
        raw = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
        message = _NODES.sub("", (raw.message or "").strip().split("\n")[0])
        return StatusError(Code(raw.error_code), message or type(raw).__name__)
    return StatusError(Code.INTERNAL, (str(error).strip() or repr(error)).split("\n")[0])
