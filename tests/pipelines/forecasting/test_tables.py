from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting import tables
from moe_apps.pipelines.forecasting.readers import read_panel
from moe_apps.pipelines.forecasting.tables import load_table

Csv = Callable[..., Path]


def test_rows_are_numbered_as_in_the_file(csv: Csv, tmp_path: Path) -> None:
    assert list(load_table(csv("a,b", "1,2", "", "3,4", "", "")).frame.index) == [2, 3, 4]
    pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    assert list(load_table(tmp_path / "a.parquet").frame.index) == [1, 2]


def test_parquet_index_becomes_a_column(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=2, name="when")
    pd.DataFrame({"a": [1, 2]}, index=times).to_parquet(tmp_path / "a.parquet")
    assert list(load_table(tmp_path / "a.parquet").frame) == ["when", "a"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found(csv: Csv, separator: str) -> None:
    lines = ("when,a b,c".replace(",", separator), "2024-01-01,1.5,2".replace(",", separator))
    table = load_table(csv(*lines))
    assert table.frame.to_dict("list") == {"when": ["2024-01-01"], "a b": [1.5], "c": [2]}


def test_decimal_comma(csv: Csv) -> None:
    table = load_table(csv("when;a;b", "01.02.2024;1,5;3", "02.02.2024;2,25;4"))
    assert table.frame["a"].tolist() == [1.5, 2.25]
    assert table.frame["when"].tolist() == ["01.02.2024", "02.02.2024"]


def test_byte_order_mark_and_spaces_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffwhen , a\n2024-01-01, 1\n".encode())
    assert list(load_table(tmp_path / "a.csv").frame) == ["when", "a"]


def test_missing_cells_are_nan_and_infinity_is_kept_for_the_reader(csv: Csv) -> None:
    table = load_table(csv("a,b", "1,x", "NA,x", ",x", "nan ,x", "inf,x"))
    np.testing.assert_array_equal(table.numbers("a"), [1, np.nan, np.nan, np.nan, np.inf])


def test_decimals_and_nullable_numbers_of_parquet(tmp_path: Path) -> None:
    from decimal import Decimal

    frame = pd.DataFrame(
        {"a": [Decimal("1.5"), None], "b": pd.array([1, None], "Int64"), "c": [True, False]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = load_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(table.numbers("a"), [1.5, np.nan])
    np.testing.assert_array_equal(table.numbers("b"), [1, np.nan])
    assert table.numbers("c") is None
    with pytest.raises(DataError, match=r"column 'c' holds bool, expected numbers"):
        table.numbers("c", required=True)


def test_text_among_numbers_is_an_error_and_text_alone_is_not(csv: Csv) -> None:
    table = load_table(csv("a,b", "1,x", "oops,y", "3,2"))
    with pytest.raises(DataError, match=r"data\.csv: row 3, column 'a': found 'oops'"):
        table.numbers("a")
    assert table.numbers("b") is None
    with pytest.raises(DataError, match=r"row 2, column 'b': found 'x'"):
        table.numbers("b", required=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"date,a\n", "no rows under the header"),
        (b"date,a\n\n,\n", "no rows under the header"),
        (b"\n\n", "cannot be read as a table|no rows"),
        (b"date,a\n2024-01-01,1,2\n", "cannot be read as a table"),
        (b"date,a\n2024-01-01,1\n2024-01-02,1,2\n", "line 3"),
        (b"date,a\n\xff\xfe\x00,1\n", "not UTF-8"),
        (b"PK\x00,\x01\n\x00,1\n", "cannot be read as a table: it is binary"),
        (b"2024-01-01,5\n2024-01-02,6\n", "'2024-01-01' stands where a column name should"),
    ],
)
def test_unreadable_files_are_one_line_errors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_table(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_no_file_and_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_table(tmp_path)
    (tmp_path / "a.parquet").write_text("not parquet")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as a table"):
        load_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_long_file_is_read_in_parts_to_the_same_end(suffix, tmp_path, monkeypatch):
    days = pd.date_range("2024-01-01", periods=30).astype(str)
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"shop": name, "day": days, "sales": random.normal(size=30).round(3)})
        for name in ("north", "south", "east")
    ]
    frame = pd.concat(parts, ignore_index=True).assign(remark=[f"r{i}" for i in range(90)])
    frame.loc[[3, 70], "sales"] = np.nan
    path = tmp_path / f"sales.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    whole = read_panel(path)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 25)
    table = load_table(path)
    assert str(table.frame["shop"].dtype) == "category"
    assert table.frame.index[-1] == len(frame) + (suffix == "csv")
    parted = read_panel(path)
    assert [s.name for s in parted.series] == ["north", "south", "east"]
    assert parted.digest() == whole.digest() and parted.notes == whole.notes


def test_what_looks_like_a_number_in_one_part_stays_the_text_it_is(tmp_path, monkeypatch):
    rows = ["shop,day,sales"]
    for name in ("001", "002", "a3"):
        rows += [f"{name},2024-01-{day:02d},{day}" for day in range(1, 11)]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(rows))
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 10)
    panel = read_panel(path, id_columns=["shop"])
    assert [series.name for series in panel.series] == ["001", "002", "a3"]
    rows[25] = "a3,2024-01-05,many"
    path.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"row 26, column 'sales': found 'many'"):
        read_panel(path, id_columns=["shop"])
