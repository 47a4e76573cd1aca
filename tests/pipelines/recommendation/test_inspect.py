from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.column_facts import DistinctCount
from moe_apps.pipelines.recommendation.generator import write_log
from moe_apps.pipelines.recommendation.generator_settings import GeneratorSettings
from moe_apps.pipelines.recommendation.inspect import inspect
from moe_apps.pipelines.recommendation.readers import read
from moe_apps.pipelines.recommendation.schema import Schema


def drafted(found: dict) -> Schema:
    return Schema.model_validate(yaml.safe_load(found["draft"]))


def frame(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    click = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "": np.arange(rows),
            "user_id": random.integers(0, 60, rows),
            "movie": [f"m{number}" for number in random.integers(0, 30, rows)],
            "seen": [
                "|".join(f"m{number}" for number in random.integers(0, 30, 3)) for _ in range(rows)
            ],
            "genres": ["|".join(random.choice(["a", "b", "c", "d"], 2)) for _ in range(rows)],
            "age": random.normal(40, 9, rows).round(1),
            "pay": np.where(
                random.random(rows) < 0.1, "unknown", random.random(rows).round(3).astype(str)
            ),
            "zip": np.where(
                random.random(rows) < 0.5, [f"x{n}" for n in random.integers(0, 99, rows)], "12"
            ),
            "version": 3,
            "when": pd.date_range("2026-01-01", periods=rows, freq="h").astype(str),
            "clicked_at": np.where(click, "yes", ""),
            "outcome": np.where(click, "good", "bad"),
            "copy": click,
            "arm": random.choice(["none", "mail"], rows),
            "click": click,
        }
    )


def test_a_draft_says_what_columns_are_and_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    frame().to_csv(path, index=False)
    found = inspect(path)
    schema = drafted(found)
    assert (schema.user, schema.item, schema.time) == ("user_id", "movie", "when")
    assert schema.treatment is not None and schema.treatment.control == "none"
    assert [task.label for task in schema.tasks] == ["click"]
    kinds = {field.name: field.kind for field in schema.fields}
    assert kinds == {
        "user_id": "categorical",
        "movie": "categorical",
        "age": "dense",
        "pay": "dense",
        "zip": "categorical",
        "seen": "sequence",
        "genres": "sequence",
        "genres_first": "categorical",
    }
    assert schema.field("seen").of == "movie" and schema.field("genres").of == "genres_first"
    table = read(path, schema)
    assert np.isnan(table.numbers("pay")).mean() == pytest.approx(0.1, abs=0.05)
    assert table.categories("genres_first").raw().tolist() == [g[0] for g in frame()["genres"]]
    rows = {row["column"]: row for row in found["columns"]}
    assert rows["age"]["missing"] == "0.0%" and rows["movie"]["different"] == 30
    assert rows[""]["kind"] == "counter" and rows["version"]["kind"] == "constant"


def test_leaks_are_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    frame().to_csv(path, index=False)
    found = inspect(path)
    assert {leak["column"]: leak["finding"] for leak in found["leaks"]} == {
        "clicked_at": "is filled just where the label is 1",
        "outcome": "every value has one label only",
        "copy": "equals the label",
    }
    assert "# 'copy': left out, equals the label click" in found["draft"]


def test_mixed_columns_are_said_with_their_first_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    frame().to_csv(path, index=False)
    notes = "\n".join(inspect(path)["notes"])
    row = int(np.flatnonzero(frame()["pay"] == "unknown")[0]) + 2
    assert f"first of them 'unknown' in row {row}: taken as a number" in notes
    assert "column 'zip' mixes" in notes and "taken as a category" in notes


def test_a_generated_log_is_understood(tmp_path: Path) -> None:
    settings = GeneratorSettings(users=200, items=60, length=4)
    write_log(tmp_path / "log", 900, settings, part_rows=300)
    (tmp_path / "log" / "part-9.parquet").touch()
    found = inspect(tmp_path / "log")
    schema = drafted(found)
    assert found["rows"] == 900 and found["files"] == 3
    assert [task.name for task in schema.tasks] == ["click", "minutes", "buy"]
    assert schema.field("history").of == "item_id"
    assert schema.field("history_genre").of == "genre"
    assert "part-9.parquet: is empty" in found["notes"][0]
    assert read(tmp_path / "log", schema).treatment is not None


def test_atomic_files_are_joined(tmp_path: Path) -> None:
    (tmp_path / "m.inter").write_text(
        "user_id:token\titem_id:token\trating:float\n1\t7\t5\n2\t8\t3\n1\t9\t4\n"
    )
    (tmp_path / "m.user").write_text("user_id:token\tage:token\n1\t24\n2\t53\n")
    (tmp_path / "m.item").write_text('item_id:token\ttitle:token_seq\n7\tThe "Cube"\n8\tBrazil\n')
    schema = drafted(inspect(tmp_path))
    assert [field.column for field in schema.fields] == ["user_id", "item_id", "age", "title"]
    table = read(tmp_path / "m.inter", schema)
    assert table.categories("title").raw().tolist() == ['The "Cube"', "Brazil", ""]
    assert table.labels["rating"].tolist() == [1, 0, 1]


def test_a_file_without_header_or_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.data"
    path.write_text("38; x; yes\n39; y; no\n40; y; no\n")
    schema = drafted(inspect(path))
    assert schema.csv.columns == ["c0", "c1", "c2"] and schema.tasks[0].label == "c2 == yes"
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        inspect(path)


def test_distinct_counts_are_exact_then_near() -> None:
    count, other = DistinctCount(), DistinctCount()
    for start in range(0, 100_000, 1000):
        count.add(np.arange(start, start + 2000).astype(str).astype(object))
    assert count.estimate() == pytest.approx(101_000, rel=0.05)
    other.add(np.arange(3000).astype(str).astype(object))
    assert other.estimate() == 3000
    assert other.share_in(count) == 1 and count.share_in(other) == pytest.approx(0.03, abs=0.02)
