from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.config import AcousticConfig, DataSettings
from moe_apps.pipelines.acoustic.data import acoustic_data
from moe_apps.pipelines.acoustic.recordings import Recording, find_recordings
from moe_apps.pipelines.acoustic.splits import HELD_OUT, TEST, TRAIN, folds, split_recordings
from moe_apps.pipelines.acoustic.splits import check_leaks as check

Write = Callable[..., Path]


def fleet(ships: int = 12, each: int = 3) -> list[Recording]:
    return [
        Recording(f"{label}-{ship}-{n}", label, ship=f"{label}{ship}", sub_type=f"kind{ship % 3}")
        for label in ("cargo", "tug")
        for ship in range(ships)
        for n in range(each)
    ]


def test_ships_stay_on_one_side() -> None:
    recordings = fleet()
    parts, unit = split_recordings(recordings, DataSettings(), seed=0, source="data")
    assert unit == "ship"
    for ship in {one.ship for one in recordings}:
        assert len({p for p, one in zip(parts, recordings, strict=True) if one.ship == ship}) == 1
    for part in range(3):
        assert {recordings[n].label for n in np.flatnonzero(parts == part)} == {"cargo", "tug"}
    assert 0.15 < (parts == TEST).mean() < 0.35


def test_a_leak_is_named() -> None:
    recordings = [*fleet(4, 1), Recording("again", "tug", ship="tug0")]
    parts = np.zeros(len(recordings), np.int64)
    parts[-1] = TEST
    with pytest.raises(DataError, match=r"ship tug0 in train \(tug-0-0\) and test \(again\)"):
        check(recordings, parts, "data")
    said = [
        Recording("a", "tug", ship="x", part="train"),
        Recording("b", "tug", ship="x", part="test"),
    ]
    with pytest.raises(DataError, match="ship x in train"):
        split_recordings([*said, *fleet()], DataSettings(), seed=0, source="data")


def test_parts_of_the_data_are_kept() -> None:
    recordings = [
        Recording(f"{label}{n}", label, part="test" if n < 3 else "train")
        for label in ("a", "b")
        for n in range(12)
    ]
    parts, unit = split_recordings(recordings, DataSettings(), seed=0, source="data")
    assert unit == "part"
    said = [one.part == "test" for one in recordings]
    assert ((parts == TEST) == said).all() and (parts == 1).any()


def test_held_out_kinds_are_in_no_part() -> None:
    recordings = fleet()
    chosen = DataSettings(held_out=("kind1",))
    parts, _ = split_recordings(recordings, chosen, seed=0, source="data")
    assert ((parts == HELD_OUT) == [one.sub_type == "kind1" for one in recordings]).all()
    with pytest.raises(DataError, match="kind9"):
        split_recordings(recordings, DataSettings(held_out=("kind9",)), seed=0, source="data")


def test_folds_keep_ships_together() -> None:
    recordings = fleet()
    for train, test in folds(recordings, "ship", 4, seed=0):
        ships = [{recordings[n].ship for n in rows} for rows in (train, test)]
        assert not ships[0] & ships[1]


def test_names_of_deepship_and_shipsear(tmp_path: Path, write_sound: Write) -> None:
    sound = np.zeros(8000, np.float32)
    for seconds, name in ((1, "1"), (2, "2")):
        write_sound(tmp_path / f"Tanker/{name}.wav", np.resize(sound, seconds * 8000))
    write_sound(tmp_path / "Tanker/20180105-7/x.wav", sound)
    (tmp_path / "Tanker/tanker-metafile").write_text(
        "1,80,MARY,20170101,101010,1,100-200\n1,80,ANN,20170202,101010,9,100-200\n"
        "2,80,JANE,20170303,101010,2,1\n7,80,RUTH,20180105,101010,1,1\nbroken line\n"
    )
    found, notes = find_recordings(tmp_path)
    ships = {one.name: one.ship for one in found}
    assert ships == {
        "Tanker/1.wav": "Tanker:MARY",  # two rows of this number: the length decides
        "Tanker/2.wav": "Tanker:JANE",
        "Tanker/20180105-7/x.wav": "Tanker:RUTH",
    }
    assert any("line 5" in note for note in notes)
    flat = tmp_path / "flat"
    write_sound(flat / "Passengers_8__10_07_13_marDeOnza_Entra.wav", sound)
    write_sound(flat / "Passengers_9__10_07_13_marDeOnza_Sale.wav", sound)
    found, _ = find_recordings(flat)
    assert {(one.label, one.ship) for one in found} == {("Passengers", "mardeonza")}


def test_metadata_beside_the_recordings(tmp_path: Path, write_sound: Write) -> None:
    for name in ("a/1", "a/2", "b/3"):
        write_sound(tmp_path / f"{name}.wav", np.zeros(800, np.float32))
    table = tmp_path / "metadata.csv"
    table.write_text("recording,ship,part\n1.wav,Ox,val\na/2,Ox,\n3,Elk,test\n")
    found, _ = find_recordings(tmp_path)
    assert [(one.ship, one.part) for one in found] == [
        ("Ox", "validation"), ("Ox", None), ("Elk", "test")
    ]  # fmt: skip
    table.write_text("recording,part\n1.wav,training\n")
    with pytest.raises(DataError, match="row 2: part is 'training'"):
        find_recordings(tmp_path)


def test_a_split_by_segment_is_far_too_good(shared_data: Path) -> None:
    """Support vectors on mean spectra of real ships: near 100 % against near 60 %."""
    folder = shared_data / "acoustic" / "deepship_mini"
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}")
    config = AcousticConfig.model_validate(
        {
            "data": {"path": str(folder), "segment": 3.0},
            "features": {"frame_ms": 64, "hop_ms": 32, "time_pool": 4},
        }
    )
    data = acoustic_data(config)
    rows, label = data.segments.inputs["image"].mean(axis=1), data.segments.label

    def accuracy(sides: list[tuple[np.ndarray, np.ndarray]]) -> float:
        hits = []
        for train, test in sides:
            model = make_pipeline(StandardScaler(), SVC(C=3, class_weight="balanced"))
            hits.append(model.fit(rows[train], label[train]).predict(rows[test]) == label[test])
        return float(np.concatenate(hits).mean())

    mixed = np.random.default_rng(0).permutation(len(label)) % 5
    by_segment = [(np.flatnonzero(mixed != n), np.flatnonzero(mixed == n)) for n in range(5)]
    owner = data.segments.recording
    by_recording = [
        (np.flatnonzero(np.isin(owner, train)), np.flatnonzero(np.isin(owner, test)))
        for train, test in folds(data.recordings, "recording", 5, seed=0)
    ]
    assert accuracy(by_segment) > 0.95
    assert accuracy(by_recording) < 0.75


def test_settings_split_segments_only_when_told(sounds: Path) -> None:
    chosen = {"path": str(sounds), "sample_rate": 8000, "segment": 1.0}
    features = {"bands": 16, "demon_settings": {"sub_bands": 2}, "f_min": 50}
    for split in ("auto", "segment"):
        config = AcousticConfig.model_validate(
            {"data": {**chosen, "split": split}, "features": features}
        )
        data = acoustic_data(config)
        train, test = data.of(TRAIN), data.of(TEST)
        shared = set(train.recording) & set(test.recording)
        assert bool(shared) == (split == "segment")
        assert any("too good" in note for note in data.facts["notes"]) == bool(shared)
