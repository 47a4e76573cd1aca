"""Files to the inputs of a signature: JSON, arrays, tables, sound and images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.errors import ConfigError, DataError
from moe_apps.serving.client.described import Described, Signature, spec_text

SEPARATOR = "|"  # between the values of a list in one cell
_MISSING = {"f": np.nan, "i": -1, "u": 0, "O": "", "b": False}


def inputs_from(path: Path, signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a signature that a file holds, with those `given` by name.

    - `.json`: an object of inputs by name, or a body of TensorFlow Serving's REST interface with
      `inputs` or `instances`;
    - `.npz`, `.npy`: arrays by name, or the one array that is missing;
    - `.csv`, `.parquet`: one column for each input, one row for each answer, lists in a cell
      separated by `|`; or, for one input `[any, any]` of floats, one series in each column;
    - `.wav`, `.flac`, `.ogg`: for one input `[any, any]` of floats, one channel a row;
    - `.png`, `.jpg` and other images: the bytes of the file for an input of text, pixels
      `[1, height, width, 3]` for one of uint8 or float.

    Raises:
        DataError: the file cannot be read, or does not fit the signature.
    """
    readers: dict[str, Callable[..., dict[str, Any]]] = {
        ".json": _json, ".npz": _arrays, ".npy": _arrays, ".csv": _table, ".parquet": _table,
        ".pq": _table, ".wav": _sound, ".flac": _sound, ".ogg": _sound, ".png": _image,
        ".jpg": _image, ".jpeg": _image, ".bmp": _image, ".webp": _image,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected one of {', '.join(readers)}")
    wanted = {name: spec for name, spec in signature.inputs.items() if name not in given}
    try:
        return {**reader(path, wanted), **given}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _json(path: Path, wanted: Mapping[str, Described]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON: {error}") from None
    if isinstance(content, dict) and "instances" in content:
        content = content["instances"]
        if not isinstance(content, list) or not content:
            raise DataError(f"{path}: `instances` is no list of rows")
        if isinstance(content[0], dict):
            content = {name: [row.get(name) for row in content] for name in content[0]}
    elif isinstance(content, dict) and "inputs" in content and "inputs" not in wanted:
        content = content["inputs"]
    return content if isinstance(content, dict) else {_only(path, wanted)[0]: content}


def _arrays(path: Path, wanted: Mapping[str, Described]) -> dict[str, Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {_only(path, wanted)[0]: loaded}
        with loaded:
            return dict(loaded)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _table(path: Path, wanted: Mapping[str, Described]) -> dict[str, Any]:
    import pandas as pd

    try:
        if path.suffix.lower() == ".csv":
            texts = {name: str for name, spec in wanted.items() if spec.is_text}
            frame = pd.read_csv(path, dtype=texts)
        else:
            frame = pd.read_parquet(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None
    if not len(frame):
        raise DataError(f"{path}: has no rows")
    if wanted.keys() <= set(frame.columns):
        return {name: _column(path, frame[name], spec) for name, spec in wanted.items()}
    series = [name for name, spec in wanted.items() if _is_series(spec)]
    if len(wanted) == len(series) == 1:
        numbers = frame.select_dtypes("number")
        if numbers.empty:
            raise DataError(f"{path}: has no column of numbers")
        return {series[0]: numbers.to_numpy(np.float32).T}
    missing = ", ".join(f"{n} {spec_text(wanted[n])}" for n in wanted if n not in frame.columns)
    raise DataError(f"{path}: columns are missing: {missing}; found {', '.join(frame.columns)}")


def _column(path: Path, column: Any, spec: Described) -> Any:
    if spec.shape is not None and len(spec.shape) == 2:
        rows = [_list(path, cell, spec) for cell in column]
        width = max((len(row) for row in rows), default=0)
        missing = _MISSING[spec.dtype.kind]
        return np.array([row + [missing] * (width - len(row)) for row in rows], spec.dtype)
    if spec.shape is not None and len(spec.shape) != 1:
        raise DataError(f"{path}: {column.name} {spec_text(spec)} does not fit into a column")
    return column.fillna(_MISSING[spec.dtype.kind]).to_numpy()


def _list(path: Path, cell: Any, spec: Described) -> list[Any]:
    if isinstance(cell, list | np.ndarray):
        return list(cell)
    if cell is None or cell != cell or cell == "":
        return []
    parts = str(cell).split(SEPARATOR)
    try:
        return parts if spec.is_text else [spec.dtype.type(part) for part in parts]
    except ValueError:
        raise DataError(f"{path}: {cell!r} is no list of {spec.dtype.name}") from None


def _sound(path: Path, wanted: Mapping[str, Described]) -> dict[str, Any]:
    if find_spec("soundfile") is None:
        raise ConfigError("soundfile: not installed; install by pip install 'moe-apps[audio]'")
    import soundfile

    name, spec = _only(path, wanted)
    if not _is_series(spec):
        raise DataError(f"{path}: sound does not fit {name} {spec_text(spec)}")
    try:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: {error}") from None
    return {name: samples.T}


def _image(path: Path, wanted: Mapping[str, Described]) -> dict[str, Any]:
    name, spec = _only(path, wanted)
    raw = path.read_bytes()
    if spec.is_text:
        return {name: np.array([raw] if spec.shape else raw, object)}
    if spec.shape is None or len(spec.shape) != 4:
        raise DataError(f"{path}: an image does not fit {name} {spec_text(spec)}")
    if find_spec("PIL") is None:
        raise ConfigError("pillow: not installed; install by pip install pillow")
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))[None]
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: {error}") from None
    return {name: pixels if spec.dtype == np.uint8 else pixels.astype(np.float32)}


def _is_series(spec: Described) -> bool:
    return spec.dtype.kind == "f" and spec.shape is not None and len(spec.shape) == 2


def _only(path: Path, wanted: Mapping[str, Described]) -> tuple[str, Described]:
    """The one input that the file is for."""
    open_ones = {n: s for n, s in wanted.items() if s.shape != ()} or dict(wanted)
    if len(open_ones) != 1:
        names = ", ".join(f"{name} {spec_text(spec)}" for name, spec in wanted.items())
        raise DataError(f"{path}: holds one input, the signature takes {names or 'no more'}")
    return next(iter(open_ones.items()))
