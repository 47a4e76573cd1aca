from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.generator import (
    GeneratorSettings,
    World,
    generate,
    write_log,
)
from moe_apps.pipelines.recommendation.readers import open_source, read
from moe_apps.pipelines.recommendation.related_tasks import paper_form
from moe_apps.pipelines.recommendation.table import Table

SETTINGS = GeneratorSettings(users=200, items=60, length=4)


def test_one_seed_one_log() -> None:
    first, schema = generate(300, settings=SETTINGS)
    assert first.digest() == generate(300, settings=SETTINGS)[0].digest()
    other = SETTINGS.model_copy(update={"seed": 1})
    assert first.digest() != generate(300, settings=other)[0].digest()
    assert set(first.columns) == {field.name for field in schema.fields}


def test_missing_values_offers_and_masked_labels() -> None:
    table, _ = generate(5000, settings=SETTINGS)
    assert 0.01 < np.isnan(table.numbers("price")).mean() < 0.03
    assert table.user is not None and 0.01 < (~table.user.present).mean() < 0.03
    click, minutes = table.labels["click"], table.labels["minutes"]
    assert (np.isnan(minutes) == (click == 0)).all()
    assert table.treatment is not None
    offer, buy = table.treatment.raw(), table.labels["buy"]
    assert buy[offer != "none"].mean() - buy[offer == "none"].mean() > 0.02
    lengths = table.categories("history").present.sum(axis=1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("correlation", [1.0, 0.5, 0.0])
def test_the_dial_is_the_correlation_of_the_tasks(correlation: float) -> None:
    world = World.of(SETTINGS.model_copy(update={"correlation": correlation}))
    assert world.weights[0] @ world.weights[1] == pytest.approx(correlation)
    x, y = paper_form(20_000, correlation)
    found = np.corrcoef(y.T)[0, 1]
    assert x.shape == (20_000, 100)
    assert found == pytest.approx(1, abs=0.02) if correlation == 1 else found < 0.75
    assert found > 0.2 or correlation < 0.5


def test_a_folder_of_parts_is_one_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    schema = write_log(folder, 700, SETTINGS, part_rows=300)
    source = open_source(folder, schema)
    assert [file.path.name for file in source.files] == [
        f"part-0000{part}.parquet" for part in range(3)
    ]
    table = read(folder, schema)
    assert len(table) == 700
    assert table.time is not None and (np.diff(table.time) >= 0).all()
    assert _raw(table.take(slice(0, 300))) == _raw(generate(300, settings=SETTINGS)[0])
    with pytest.raises(DataError, match="is there already"):
        write_log(folder, 700, SETTINGS)


def _raw(table: Table) -> list[list[str]]:
    return [table.categories(name).raw().tolist() for name in ("user_id", "item_id", "history")]
