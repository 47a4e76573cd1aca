"""What a signature of a SavedModel takes and gives, and the check of what a caller sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from moe_apps.serving.server.status import Code, StatusError, invalid

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        tensor: name of the tensor in the graph.
        dtype: its type.
        shape: its sizes, `None` for one that is free; `None` in all if even the rank is.
    """

    tensor: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, info: Any) -> Tensor:
        """Return what a `TensorInfo` message says."""
        shape = tf.TensorShape(info.tensor_shape)
        sizes = None if shape.rank is None else tuple(shape.as_list())
        return cls(info.name, tf.as_dtype(info.dtype), sizes)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(want in (None, have) for want, have in zip(self.shape, shape, strict=True))
        )

    @property
    def has_rows(self) -> bool:
        """Whether the first axis is free, as that of a batch is."""
        return bool(self.shape) and self.shape is not None and self.shape[0] is None


@dataclass(frozen=True)
class Signature:
    """A function of a SavedModel.

    Attributes:
        name: its name.
        inputs: by name.
        outputs: by name.
        defaults: values of inputs that need not be given.
    """

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    defaults: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, name: str, definition: Any) -> Signature:
        """Return what a `SignatureDef` message says."""
        return cls(
            name,
            {key: Tensor.of(info) for key, info in sorted(definition.inputs.items())},
            {key: Tensor.of(info) for key, info in sorted(definition.outputs.items())},
            {key: tf.make_ndarray(value) for key, value in definition.defaults.items()},
        )

    @property
    def takes_rows(self) -> bool:
        """Whether requests can be put together: rows in, rows out, and scalars beside them."""
        inputs = [tensor for tensor in self.inputs.values() if tensor.shape != ()]
        return bool(inputs) and all(tensor.has_rows for tensor in (*inputs, *self.outputs.values()))

    def checked(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays for all inputs, once names, types and shapes are found right.

        Raises:
            StatusError: INVALID_ARGUMENT, in TensorFlow Serving's words where it has some.
        """
        sent, known = given.keys(), self.inputs.keys()
        if len(sent) > len(known) or (len(sent) < len(known) and not self.defaults):
            raise invalid(
                f"input size does not match signature: {len(sent)}!={len(known)} "
                f"len({_set(sent)}) != len({_set(known)}). Sent extra: {_set(sent - known)}. "
                f"Missing but required: {_set(known - sent)}."
            )
        arrays = {}
        for position, (name, tensor) in enumerate(self.inputs.items()):
            if name in given:
                arrays[name] = given[name]
            elif name in self.defaults:
                arrays[name] = self.defaults[name]
            else:
                raise invalid(
                    f"Signature input alias: {name}(feed name: {tensor.tensor}) not found in "
                    "request and no default value provided. Inputs expected to be in the request "
                    f"{_set(sent)}, or default input alias set: {','.join(sorted(self.defaults))}"
                )
            self._check(position, name, tensor, arrays[name])
        if sent - known:
            raise invalid(
                f"Inputs contains invalid name. Used request inputs: "
                f"{','.join(sorted(sent & known))}, request input: {','.join(sorted(sent))}"
            )
        return arrays

    def chosen(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs that are asked for: all if none is named."""
        for index, name in enumerate(outputs):
            if name not in self.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name} Outputs expected to be "
                    f"in the set {_set(self.outputs)}."
                )
            if name in outputs[:index]:
                raise invalid(f"duplicate output tensor alias: {name}")
        return tuple(outputs) or tuple(self.outputs)

    def _check(self, position: int, name: str, tensor: Tensor, array: np.ndarray) -> None:
        sent = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
        if sent != tensor.dtype:
            raise invalid(
                f"Expects arg[{position}] to be {tensor.dtype.name} but {sent.name} is provided "
                f"for input {name!r}"
            )
        if not tensor.takes(array.shape):
            raise invalid(
                f"input {name!r} has shape {shape_text(array.shape)}, expected "
                f"{shape_text(tensor.shape)} (-1: any size)"
            )


def find(signatures: Mapping[str, Signature], name: str) -> Signature:
    """Return a signature by name, the default one if the name is empty."""
    wanted = name or DEFAULT
    if wanted not in signatures:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{wanted}" not found.')
    return signatures[wanted]


def shape_text(shape: Sequence[int | None] | None) -> str:
    """Return a shape as TensorFlow Serving writes it.

    Example:
        >>> shape_text((None, 3))
        '[-1,3]'
    """
    if shape is None:
        return "[?]"
    return f"[{','.join(str(-1 if size is None else size) for size in shape)}]"


def _set(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"
