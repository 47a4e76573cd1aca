"""What a server says of a model: the inputs and outputs of its signatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from moe_apps.errors import DataError

# Names of the protocol to types of NumPy; text and bytes are objects.
DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BOOL": "bool",
    "DT_INT8": "int8", "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64",
    "DT_UINT8": "uint8", "DT_UINT16": "uint16", "DT_UINT32": "uint32", "DT_UINT64": "uint64",
    "DT_STRING": "object",
}  # fmt: skip


@dataclass(frozen=True)
class Described:
    """An input or output.

    Attributes:
        dtype: NumPy type; object for text and bytes.
        shape: its sizes, `None` for one that is free; `None` if even their number is.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    @property
    def is_text(self) -> bool:
        """Whether it holds text or bytes."""
        return self.dtype == object


@dataclass(frozen=True)
class Signature:
    """A signature of a model that is served.

    Attributes:
        name: its name.
        inputs: by name.
        outputs: by name.
    """

    name: str
    inputs: Mapping[str, Described]
    outputs: Mapping[str, Described]

    def arrays(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return what is given as arrays of the right types.

        Raises:
            DataError: a name is unknown or missing, or a value cannot be of its type.
        """
        unlike = given.keys() ^ self.inputs.keys()
        if unlike:
            known = ", ".join(f"{name} {spec_text(spec)}" for name, spec in self.inputs.items())
            raise DataError(
                f"signature {self.name!r} takes {known}; given are {', '.join(given) or 'none'}"
            )
        return {name: _as(given[name], spec, name) for name, spec in self.inputs.items()}


@dataclass(frozen=True)
class Which:
    """Which model, version and signature a call is for.

    Attributes:
        model: its name.
        version: its number; by default the server's choice.
        label: name of a version, instead of its number.
        signature: name of the signature.
    """

    model: str
    version: int | None = None
    label: str = ""
    signature: str = "serving_default"


class Connection(Protocol):
    """What clients of both protocols can do. All raise `CallError`."""

    def signature(self, which: Which) -> Signature:
        """Return what a signature takes and gives."""

    def predict(self, which: Which, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs of a signature."""

    def close(self) -> None:
        """Close connections."""


def of_metadata(definitions: Mapping[str, Any], which: Which) -> Signature:
    """Return a signature of the metadata of a model, in the protocol's JSON.

    Raises:
        DataError: the model has none of that name.
    """
    found = definitions.get(which.signature)
    if found is None:
        names = ", ".join(name for name in sorted(definitions) if not name.startswith("__"))
        raise DataError(f"model {which.model} has no signature {which.signature!r}, only {names}")
    return Signature(
        which.signature,
        {name: _described(info) for name, info in sorted(found.get("inputs", {}).items())},
        {name: _described(info) for name, info in sorted(found.get("outputs", {}).items())},
    )


def spec_text(spec: Described) -> str:
    """Return type and shape for people.

    Example:
        >>> spec_text(Described(np.dtype("float32"), (None, 3)))
        'float32 [any, 3]'
    """
    kind = "text" if spec.is_text else spec.dtype.name
    if spec.shape is None:
        return f"{kind} of any shape"
    return f"{kind} [{', '.join('any' if size is None else str(size) for size in spec.shape)}]"


def _described(info: Mapping[str, Any]) -> Described:
    shape = info.get("tensor_shape", {})
    sizes = tuple(
        None if int(dim.get("size", 0)) < 0 else int(dim.get("size", 0))
        for dim in shape.get("dim", ())
    )
    unknown = bool(shape.get("unknown_rank", False))
    return Described(np.dtype(DTYPES.get(info["dtype"], "object")), None if unknown else sizes)


def _as(value: Any, spec: Described, name: str) -> np.ndarray:
    try:
        if spec.is_text:
            return np.array(value, object)
        array = np.asarray(value)
        if spec.dtype.kind in "iu" and array.dtype.kind == "f" and (array % 1 != 0).any():
            raise DataError(f"{name}: found numbers that are not whole, expected {spec.dtype.name}")
        with np.errstate(over="ignore"):
            return array.astype(spec.dtype)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: cannot be made {spec_text(spec)}: {error}") from None
