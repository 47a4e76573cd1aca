from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.serving.client.described import Described, Signature
from moe_apps.serving.client.files import inputs_from


def signature(**inputs: tuple[str, tuple[int | None, ...]]) -> Signature:
    described = {name: Described(np.dtype(kind), shape) for name, (kind, shape) in inputs.items()}
    return Signature("serving_default", described, {})


FORECASTING = signature(history=("float32", (None, None)), horizon=("int32", ()))
RECOMMENDATION = signature(
    user=("object", (None,)),
    age=("float32", (None,)),
    seen=("int64", (None, None)),
    tags=("object", (None, None)),
)


def test_series_in_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,x,y\n2024-01-01,1,10\n2024-01-02,,20\n")
    inputs = inputs_from(tmp_path / "a.csv", FORECASTING, {"horizon": 3})
    np.testing.assert_array_equal(inputs["history"], [[1, np.nan], [10, 20]])
    assert inputs["horizon"] == 3


def test_a_row_for_each_answer_with_lists_in_cells(tmp_path: Path) -> None:
    text = "user,age,seen,tags\nu1,20,1|2|3,a\n,,,\n7,3.5,4,b|c\n"
    (tmp_path / "a.csv").write_text(text)
    inputs = inputs_from(tmp_path / "a.csv", RECOMMENDATION, {})
    arrays = RECOMMENDATION.arrays(inputs)
    assert arrays["user"].tolist() == ["u1", "", "7"]
    np.testing.assert_array_equal(arrays["age"], np.array([20, np.nan, 3.5], np.float32))
    assert arrays["seen"].tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    assert arrays["tags"].tolist() == [["a", ""], ["", ""], ["b", "c"]]


def test_parquet_keeps_lists(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"user": ["a"], "age": [1.0], "seen": [[5, 6]], "tags": [["x"]]})
    frame.to_parquet(tmp_path / "a.parquet")
    arrays = RECOMMENDATION.arrays(inputs_from(tmp_path / "a.parquet", RECOMMENDATION, {}))
    assert arrays["seen"].tolist() == [[5, 6]]


def test_json_by_rows_and_by_columns(tmp_path: Path) -> None:
    given: dict[str, Any] = {"a": '{"inputs": {"x": [1, 2]}}', "b": '{"instances": [1, 2]}'}
    given |= {"c": '{"instances": [{"x": 1}, {"x": 2}]}', "d": "[1, 2]", "e": '{"x": [1, 2]}'}
    one = signature(x=("float32", (None,)))
    for name, text in given.items():
        (tmp_path / f"{name}.json").write_text(text)
        assert inputs_from(tmp_path / f"{name}.json", one, {}) == {"x": [1, 2]}


def test_sound(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = np.sin(np.arange(800) / 9).astype(np.float32) / 2
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 8000, subtype="FLOAT")
    one = signature(waveform=("float32", (None, None)))
    found = inputs_from(tmp_path / "a.wav", one, {})["waveform"]
    np.testing.assert_array_equal(found, [wave, -wave])
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"b\.wav: "):
        inputs_from(tmp_path / "b.wav", one, {})
    with pytest.raises(DataError, match="holds one input, the signature takes"):
        inputs_from(tmp_path / "a.wav", RECOMMENDATION, {})


def test_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    image.fromarray(pixels).save(tmp_path / "a.png")
    four = (None, None, None, 3)
    found = inputs_from(tmp_path / "a.png", signature(image=("uint8", four)), {})
    np.testing.assert_array_equal(found["image"], [pixels])
    raw = inputs_from(tmp_path / "a.png", signature(image_bytes=("object", (None,))), {})
    assert raw["image_bytes"].tolist() == [(tmp_path / "a.png").read_bytes()]
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png: cannot"):
        inputs_from(tmp_path / "b.png", signature(image=("float32", four)), {})


def test_mistakes_name_file_and_column(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("user,age\n")
    (tmp_path / "text.csv").write_text("a\nb\n")
    (tmp_path / "list.csv").write_text("user,age,seen,tags\na,1,x|y,t\n")
    with pytest.raises(DataError, match=r"empty\.csv: has no rows"):
        inputs_from(tmp_path / "empty.csv", RECOMMENDATION, {})
    with pytest.raises(DataError, match=r"text\.csv: has no column of numbers"):
        inputs_from(tmp_path / "text.csv", FORECASTING, {"horizon": 1})
    with pytest.raises(DataError, match=r"columns are missing: user text \[any\], age float32"):
        inputs_from(tmp_path / "text.csv", RECOMMENDATION, {})
    with pytest.raises(DataError, match=r"list\.csv: 'x\|y' is no list of int64"):
        inputs_from(tmp_path / "list.csv", RECOMMENDATION, {})
