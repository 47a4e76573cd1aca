from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers import read_tracks
from moe_apps.pipelines.trajectory.tracks import pieces


def _lines(step: int = 10) -> list[dict[str, object]]:
    """Two walkers towards each other, the second with a frame missing."""
    lines: list[dict[str, object]] = [
        {"scene": {"id": 0, "p": 1, "s": 0, "e": 200, "fps": 2.5, "tag": 0}},
        {"scene": {"id": 1, "p": 2, "s": 0, "e": 200, "fps": 2.5, "tag": [1, []]}},
    ]
    for walker, speed in ((1, 0.5), (2, -0.5)):
        for i in range(20):
            if (walker, i) != (2, 7):
                place = {"x": round(speed * i, 3), "y": round(0.2 * walker + speed * i, 3)}
                lines.append({"track": {"f": step * i + 40, "p": walker, **place}})
    return lines


def _write(path: Path, lines: list[object]) -> Path:
    path.write_text(
        "\n".join(text if isinstance(text, str) else json.dumps(text) for text in lines)
    )
    return path


def test_trajnet(tmp_path: Path) -> None:
    predicted = {"track": {"f": 240, "p": 1, "x": 9, "y": 9, "prediction_number": 0, "scene_id": 0}}
    found = read_tracks(_write(tmp_path / "scenes.ndjson", [*_lines(), "", predicted]))
    assert found.rate == 2.5 and len(found) == 39
    table = found.table
    # Each way is a recording, x along it: half a metre a step in x and y is 0.707.
    for recording, missing in (("scenes/1", False), ("scenes/2", True)):
        rows = table[table["recording"] == recording]
        assert pieces(rows.reset_index()).max() == int(missing)
        np.testing.assert_allclose(rows["x"].iloc[1:4].diff()[1:], np.hypot(0.5, 0.5))
        np.testing.assert_allclose(rows["y"], 0.0, atol=1e-9)
    assert found.notes[0] == "scenes.ndjson: 1 rows left out, they are predictions"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 42 is no JSON"),
        ("7", "line 42 is no JSON object"),
        ({"track": {"f": 1, "p": 2, "x": "far", "y": 0}}, "line 42: a track needs numbers f, p, x"),
        ({"track": {"f": 1, "p": 2, "x": 0}}, "line 42: a track needs numbers f, p, x and y"),
        ({"scene": {"id": 3, "fps": 30}}, r"scenes at 2\.5, 30 frames a second"),
    ],
)
def test_trajnet_names_the_bad_line(tmp_path: Path, line: object, message: str) -> None:
    path = _write(tmp_path / "scenes.ndjson", [*_lines(), line])
    with pytest.raises(DataError, match=message):
        read_tracks(path)


@pytest.mark.parametrize("step", [6, 10])
def test_obsmat_and_plain_text(tmp_path: Path, step: int) -> None:
    rows = [line["track"] for line in _lines(step) if "track" in line]
    folder = tmp_path / "seq_eth"
    folder.mkdir()
    obsmat = "\n".join(
        f" {r['f']:.7e} {r['p']:.7e} {r['x']:.7e} 0.0 {r['y']:.7e} 1.25 0.0 1.25"  # type: ignore[index]
        for r in rows
    )
    (folder / "obsmat.txt").write_text(obsmat)
    (folder / "biwi.txt").write_text(
        "\n".join(f"{r['f']}\t{r['p']}\t{r['x']}\t{r['y']}" for r in rows)  # type: ignore[index]
    )
    found = read_tracks(folder)
    assert found.table["recording"].unique().tolist() == [
        *("biwi/1", "biwi/2", "seq_eth/1", "seq_eth/2")
    ]
    half = len(found) // 2
    for name in ("vehicle", "frame", "x", "y"):
        first, second = found.table[name][:half], found.table[name][half:]
        np.testing.assert_allclose(first, second, atol=1e-6)
    assert found.rate == 2.5 and (found.table["kind"] == "pedestrian").all()
