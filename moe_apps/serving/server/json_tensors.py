"""JSON bodies of TensorFlow Serving's REST interface to arrays, and arrays to such bodies."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from moe_apps.serving.server.signature import Signature, Tensor, shape_text
from moe_apps.serving.server.status import StatusError, invalid

_BYTES = "_bytes"  # outputs so named are bytes, not text
_IN_JSON = (
    "float32",
    "float64",
    "bool",
    *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)),
)
_SHOWN = 200  # characters of a value that an error repeats


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; NaN and Infinity are numbers in it."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        content = _loaded(body)
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None
    except UnicodeDecodeError:
        raise invalid("JSON Parse error: Invalid encoding in string") from None
    except ValueError as error:
        position = getattr(error, "pos", 0)
        what = getattr(error, "msg", str(error))
        raise invalid(f"JSON Parse error: {what} at offset: {position}") from None
    if not isinstance(content, dict):
        raise invalid(f"JSON Value: {_shown(content)} Is not object")
    return content


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)  # knows NaN and Infinity; slower


def signature_name(content: Mapping[str, Any]) -> str:
    """Return the name of the signature that is asked for; empty if none is named."""
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(content)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return name


def predict_inputs(
    content: Mapping[str, Any], signature: Signature
) -> tuple[dict[str, np.ndarray], bool]:
    """Return the arrays of a predict request, and whether its format is by rows.

    Raises:
        StatusError: INVALID_ARGUMENT, in TensorFlow Serving's words.
    """
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {signature.name}")
    if "instances" in content and "inputs" in content:
        raise invalid(
            f"JSON Value: {_shown(content)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in content:
        instances = content["instances"]
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {_shown(content)} Excepting 'instances' to be an list/array"
            )
        if not instances:
            raise invalid(f"JSON Value: {_shown(content)} No values in 'instances' array")
        return _rows(instances, signature), True
    if "inputs" in content:
        return _columns(content["inputs"], signature), False
    raise invalid("Missing 'inputs' or 'instances' key")


def examples(content: Mapping[str, Any], method: str) -> list[bytes]:
    """Return the serialized `tf.Example`s of a classify or regress request."""
    given = content.get("examples")
    if given is None:
        raise invalid(
            f"JSON Value: {_shown(content)} When method is {method}, key 'examples' is expected "
            "and was not found"
        )
    if not isinstance(given, list):
        raise invalid(
            f"JSON Value: {_shown(content)} Expecting 'examples' value to be an list/array"
        )
    if not given:
        raise invalid(f"JSON Value: {_shown(content)} 'examples' value is an empty array")
    # Serialized messages one after the other are one message that has the fields of both.
    context = _example(content["context"]) if "context" in content else b""
    return [context + _example(example) for example in given]


def predict_body(answer: Mapping[str, np.ndarray], by_rows: bool) -> bytes:
    """Return the body for an answer: by rows `predictions`, else `outputs`.

    Raises:
        StatusError: INVALID_ARGUMENT, for outputs that do not go by rows.
    """
    if by_rows:
        sizes = {}
        for name, array in answer.items():
            if not array.ndim:
                raise invalid(f"Tensor name: {name} has no shape information ")
            sizes[name] = len(array)
            first = next(iter(sizes.values()))
            if len(array) != first:
                raise invalid(
                    f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: "
                    f"{first}"
                )
    values: Any = {name: _written(name, array) for name, array in answer.items()}
    if len(values) == 1:
        [values] = values.values()
    elif by_rows:
        rows = zip(*values.values(), strict=True)
        values = [dict(zip(values, row, strict=True)) for row in rows]
    return _dumped({"predictions" if by_rows else "outputs": values})


def results_body(results: Any) -> bytes:
    """Return the body for the results of classify or regress."""
    return _dumped({"results": results})


def plain_body(content: Any) -> bytes:
    """Return the body for what tells of a model."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def error_body(message: str) -> bytes:
    """Return the body for an error."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def _rows(instances: list[Any], signature: Signature) -> dict[str, np.ndarray]:
    names = list(signature.inputs)
    named = _is_named(instances[0])
    if not named and len(names) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    for index, instance in enumerate(instances):
        if named and not _is_named(instance):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if not named and _is_named(instance):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        if named and instance.keys() != set(names):
            for key in instance.keys() - set(names):
                raise invalid(
                    f"Failed to process element: {index} key: {key} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: JSON object: does not have named input: {key}"
                )
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{_shown(instance)} keys must be equal to: {','.join(names)}"
            )
    if not named:
        return {names[0]: _row_tensor(instances, "", signature.inputs[names[0]])}
    return {
        name: _row_tensor([one[name] for one in instances], f" key: {name}", signature.inputs[name])
        for name in names
    }


def _row_tensor(values: list[Any], key: str, tensor: Tensor) -> np.ndarray:
    """The array of one input; what is wrong with it is told by the element."""
    fast = _fast(values, tensor.dtype)
    if fast is not None:
        return fast
    arrays: list[np.ndarray] = []
    for index, value in enumerate(values):
        try:
            array = _tensor(value, tensor.dtype)
            if arrays and array.size != arrays[0].size:
                raise invalid(f"Expecting tensor size: {arrays[0].size} but got: {array.size}")
            if arrays and array.shape != arrays[0].shape:
                raise invalid(
                    f"Expecting shape {shape_text(arrays[0].shape)} but got: "
                    f"{shape_text(array.shape)}"
                )
        except StatusError as error:
            raise invalid(
                f"Failed to process element: {index}{key} of 'instances' list. Error: "
                f"{error.code.name}: {error.message}"
            ) from None
        arrays.append(array)
    return np.stack(arrays)


def _columns(inputs: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        [(name, tensor)] = signature.inputs.items()
        return {name: _tensor(inputs, tensor.dtype)}
    arrays = {}
    for name, tensor in signature.inputs.items():
        if name not in inputs:
            if name in signature.defaults:
                continue
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _tensor(inputs[name], tensor.dtype)
    return arrays


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    fast = _fast(value, dtype)
    if fast is not None:
        return fast
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    leaves: list[Any] = []
    _collect(value, 0, shape, dtype, leaves)
    array = np.empty(len(leaves), object if dtype == tf.string else dtype.as_numpy_dtype)
    array[:] = leaves
    return array.reshape(shape)


def _fast(value: Any, dtype: tf.DType) -> np.ndarray | None:
    """The array of numbers where nothing can be wrong with them; else `None`, and a closer look."""
    if not (dtype.is_floating or dtype.is_integer):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # lists of unequal lengths
        return None
    if array.dtype.kind not in ("fi" if dtype.is_floating else "i") or not array.size:
        return None
    limits = _limits(dtype)
    # Where whole numbers stand among others, what is beyond the mantissa must be looked at.
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if finite.size and (finite.min() < limits[0] or finite.max() > limits[1]):
        return None
    if _has_bool(value):  # NumPy takes true for 1 where numbers stand beside it
        return None
    return array.astype(dtype.as_numpy_dtype)


def _has_bool(value: Any) -> bool:
    if isinstance(value, list):
        if value and not isinstance(value[0], list):
            return bool in set(map(type, value))
        return any(map(_has_bool, value))
    return isinstance(value, bool)


def _limits(dtype: tf.DType) -> tuple[float, float]:
    if dtype.is_integer:
        return dtype.min, dtype.max
    exact = 2.0 ** (53 if dtype == tf.float64 else 24) - 1
    return -exact, exact


def _collect(value: Any, level: int, shape: list[int], dtype: tf.DType, leaves: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        leaves.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, leaves)


def _leaf(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        if isinstance(value, dict):
            return _decoded(value)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
    elif dtype == tf.bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if dtype.is_floating:
            return _decimal(value, dtype)
        if isinstance(value, int) and dtype.min <= value <= dtype.max:
            return value
    raise invalid(
        f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: {dtype.name}"
    )


def _decimal(value: int | float, dtype: tf.DType) -> float:
    exact = _limits(dtype)[1]
    largest = float(dtype.max)
    if (isinstance(value, int) and abs(value) > exact) or largest < abs(value) < float("inf"):
        kind = "double" if dtype == tf.float64 else "float"
        raise invalid(
            f"Cannot convert JSON value: {_shown(value)} to {kind} without loss of precision."
        )
    return float(value)


def _decoded(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        text = value["b64"].encode("ascii")
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise invalid("Unable to base64 decode") from None


def _example(given: Any) -> bytes:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {_kind(given)}")
    example = tf.train.Example()
    for name, content in given.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add(name, feature, value)
    serialized: bytes = example.SerializeToString()
    return serialized


def _add(name: str, feature: Any, value: Any) -> None:
    if isinstance(value, dict) and _is_base64(value):
        kind, plain = "bytes", _decoded(value)
    elif isinstance(value, str):
        kind, plain = "bytes", value.encode("utf-8", "surrogatepass")
    elif isinstance(value, float):
        kind, plain = "float", _decimal(value, tf.float32)  # type: ignore[assignment]
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind, plain = "int64", int(value)  # type: ignore[assignment]
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(value)}")
    there = feature.WhichOneof("kind")
    if there not in (None, f"{kind}_list"):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{there.removesuffix('_list')}"
        )
    getattr(feature, f"{kind}_list").value.append(plain)


def _written(name: str, array: np.ndarray) -> Any:
    """What the body has for an output: an array that orjson writes, or lists."""
    if array.dtype == object:
        return _strings(array.tolist(), name.endswith(_BYTES))
    if array.dtype not in _IN_JSON:
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # By way of text, to have the shortest decimals of a float32, as orjson has them.
        return array.astype("U32").astype(np.float64).tolist()
    return np.ascontiguousarray(array)


def _strings(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_strings(item, as_bytes) for item in value]
    raw = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return {"b64": base64.b64encode(raw).decode()}
    return raw.decode("utf-8", "replace")


def _dumped(content: Any) -> bytes:
    if _has_nan(content):  # a token that is no JSON, and that TensorFlow Serving writes
        return json.dumps(_listed(content)).encode()
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _has_nan(content: Any) -> bool:
    """Whether a plain number is not finite; those in arrays are, by `_written`."""
    if isinstance(content, dict):
        return any(map(_has_nan, content.values()))
    if isinstance(content, list | tuple):
        return any(map(_has_nan, content))
    return isinstance(content, float | np.floating) and not np.isfinite(content)


def _listed(content: Any) -> Any:
    if isinstance(content, np.floating):
        return float(str(content))
    if isinstance(content, np.ndarray | np.generic):
        return orjson.loads(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))
    if isinstance(content, dict):
        return {name: _listed(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_listed(value) for value in content]
    return content


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _kind(value: Any) -> str:
    kinds = {type(None): "Null", bool: str(value), dict: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")
