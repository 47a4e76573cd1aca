from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.readers import open_source, read, stream
from moe_apps.pipelines.recommendation.schema import Schema

AGE = {"name": "age", "kind": "dense"}
FILM = {"name": "film", "kind": "categorical"}
SEEN = {"name": "seen", "kind": "sequence", "of": "film", "max_length": 2}
LIKE = {"name": "like", "label": "rating >= 4"}


def schema(*fields: dict[str, Any], task: dict[str, Any] = LIKE, **roles: Any) -> Schema:
    return Schema(fields=list(fields), tasks=[task], **roles)


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    text = written(
        tmp_path / "a.csv",
        "age,film,seen,rating,who,when",
        "30, Alien ,Alien|Brazil|Cube,5,u1,2026-01-01",
        ",,,2,,",
        "31.5,NA,Alien,,u1,2026-01-01 00:00:01",
    )
    when = pd.to_datetime(["2026-01-01", None, "2026-01-01 00:00:01"], format="ISO8601")
    pd.DataFrame(
        {
            "age": [30, None, 31.5],
            "film": ["Alien", None, None],
            "seen": [["Alien", "Brazil", "Cube"], None, ["Alien"]],
            "rating": [5, 2, None],
            "who": pd.Categorical(["u1", None, "u1"]),
            "when": when,
        }
    ).to_parquet(tmp_path / "a.parquet")
    asked = schema(AGE, FILM, SEEN, user="who", time="when")
    table = read(text, asked)
    assert table.columns["film"].raw().tolist() == ["Alien", "", ""]
    # The last two, oldest first, padded behind.
    assert table.columns["seen"].raw().tolist() == [["Brazil", "Cube"], ["", ""], ["Alien", ""]]
    np.testing.assert_array_equal(table.columns["age"], np.float32([30, np.nan, 31.5]))
    np.testing.assert_array_equal(table.labels["like"], np.float32([1, 0, np.nan]))
    np.testing.assert_array_equal(table.time, [1767225600, np.nan, 1767225601])
    # A row without a user is nobody's.
    assert table.user.codes.tolist() == [0, -1, 0]
    assert read(tmp_path / "a.parquet", asked).digest() == table.digest()


def test_whole_numbers_with_gaps_and_mask(tmp_path: Path) -> None:
    pd.DataFrame({"film": [7.0, None, 3.0], "y": [True, False, True], "ok": [1, 1, 0]}).to_parquet(
        tmp_path / "a.parquet"
    )
    task = {"name": "buy", "label": "y", "mask": "ok"}
    for kind, expected in (("int", [7, -1, 3]), ("string", ["7", "", "3"])):
        table = read(tmp_path, schema({**FILM, "type": kind}, task=task))
        assert table.columns["film"].raw().tolist() == expected
        np.testing.assert_array_equal(table.labels["buy"], np.float32([1, 0, np.nan]))


def test_chunks_join_to_the_whole(tmp_path: Path) -> None:
    for part in range(3):
        rows = [f"{part},f{row % 4},{row % 6}" for row in range(10)]
        written(tmp_path / f"{part}.csv", "age,film,rating", *rows)
    asked = schema(AGE, FILM)
    chunks = list(stream(tmp_path, asked, chunk_rows=4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2] * 3
    whole = read(tmp_path, asked)
    films = np.concatenate([chunk.columns["film"].raw() for chunk in chunks])
    assert films.tolist() == whole.columns["film"].raw().tolist()
    assert len(whole.columns["film"].values) == 4


def test_files_without_rows_or_columns_are_left_out_and_said(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", "age,rating", "1,5")
    (tmp_path / "b.csv").touch()
    written(tmp_path / "c.csv", "age,rating")
    written(tmp_path / "d.csv", "years,rating", "1,5")
    written(tmp_path / "_note.txt", "not data")
    table = read(tmp_path, schema(AGE))
    assert len(table) == 1
    assert [note.split(":")[1].split("/")[-1] for note in table.notes] == ["b.csv", "d.csv"] or (
        len(table.notes) == 2 and "b.csv" in table.notes[0] and "d.csv" in table.notes[1]
    )
    with pytest.raises(DataError, match=r"b\.csv: is empty"):
        open_source(tmp_path, schema(AGE), strict=True)


def test_folders_of_partitions_are_columns(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"age={day}").mkdir()
        written(tmp_path / f"age={day}" / "a.csv", "rating", "5")
    assert read(tmp_path, schema(AGE)).columns["age"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("lines", "fields", "message"),
    [
        (("age,rating", "1,5", "old,2"), AGE, r"row 3, column 'age': found 'old', expected a num"),
        (("age,rating", "1,5", "2,good"), AGE, r"row 3, column 'rating': found 'good'"),
        (("age,rating", "1,5", "2,5,6"), AGE, r"cannot be read: .*Row #3: Expected 2 columns"),
        (("age,age,rating", "1,5,2"), AGE, r"columns must differ, found twice: age"),
        (("aged,rating", "1,5"), AGE, r"schema names column 'age', .*nearest is 'aged'"),
        (
            ("film,rating", "1,5", "Alien,5"),
            {**FILM, "type": "int"},
            r"row 3, column 'film': found 'Alien', expected a whole number",
        ),
        (("film,rating", "1,5", "-2,5"), {**FILM, "type": "int"}, r"row 3.*found -2"),
        (("age,rating",), AGE, r"no rows in it"),
        ((), AGE, r"is empty|cannot be read"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, lines: tuple[str, ...], fields: dict[str, Any], message: str
) -> None:
    path = written(tmp_path / "a.csv", *lines)
    with pytest.raises(DataError, match=message) as caught:
        read(path, schema(fields))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_label_that_is_no_truth_value_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "age,rating", "1,1", "1,3")
    with pytest.raises(DataError, match=r"row 3.*task like is 3, expected 0 or 1"):
        read(path, schema(AGE, task={"name": "like", "label": "rating"}))


def test_one_wrong_element_of_a_list_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "film,seen,rating", "1,2|3,5", "1,,5", "2,4|x,5")
    with pytest.raises(DataError, match=r"row 4, column 'seen': found 'x'"):
        read(path, schema({**FILM, "type": "int"}, SEEN))


def test_text_without_header_and_with_its_own_missing_marks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.data", "30; ?; - 50000.", "31; x; 50000+.")
    csv = {"columns": ["age", "film", "income"], "separator": ";", "missing": ["?"]}
    task = {"name": "rich", "label": "income == 50000+."}
    table = read(path, schema(AGE, FILM, task=task, csv=csv))
    assert table.columns["film"].raw().tolist() == ["", "x"]
    assert table.labels["rich"].tolist() == [0, 1]


def test_census_file(shared_data: Path) -> None:
    path = shared_data / "recommendation" / "census_income_kdd" / "census-income.test.gz"
    names = [f"c{number}" for number in range(42)]
    tasks = [
        {"name": "income", "label": "c41 == 50000+."},
        {"name": "nm", "label": "c7 == Never married"},
    ]
    asked = Schema(
        fields=[{"name": "c0", "kind": "dense"}],
        tasks=tasks,
        csv={"columns": names, "missing": ["?"]},
    )
    table = read(path, asked)
    shares = {task: round(float(label.mean()), 4) for task, label in table.labels.items()}
    assert len(table) == 99_762 and shares == {"income": 0.0620, "nm": 0.4325}
