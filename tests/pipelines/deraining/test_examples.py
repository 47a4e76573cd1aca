from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.data import examples, inspect, level_of, protocol_of
from moe_apps.pipelines.deraining.examples import MadePatches, at_least, turned
from moe_apps.pipelines.deraining.pair_cache import PairCache
from moe_apps.pipelines.deraining.pairs import find_pairs
from moe_apps.pipelines.deraining.sample_images import CleanImage
from moe_apps.pipelines.deraining.training_batches import PatchBatches


def config(**data) -> DerainingConfig:
    return DerainingConfig(domain="deraining", data=data)


@pytest.fixture
def rainy_folder(tmp_path, draw, save):
    """Clean images with two degraded versions each, in the folders given."""

    def make(count: int, *folders: str, first: int = 0) -> Path:
        for folder in folders or ("",):
            for number in range(first, first + count):
                clean = draw(number)
                save(tmp_path / folder / "gt" / f"{number}.png", clean)
                for version in (1, 2):
                    rainy = np.clip(clean + 30 * version, 0, 255).astype(np.uint8)
                    save(tmp_path / folder / "input" / f"{number}_{version}.png", rainy)
        return tmp_path

    return make


def scenes(part) -> set[bytes]:
    return {example.clean.tobytes() for example in part}


# === Patches ===


def test_patches_depend_on_seed_and_number_alone(draw):
    source = MadePatches([CleanImage("a", draw(0, 60, 70))], ("streaks", "snow"), ("heavy",))
    batches = PatchBatches(source, 16, batch_size=3, batches_per_epoch=2, seed=4)
    stream = [tuple(x.numpy() for x in pair) for pair in batches.from_epoch(0).take(4)]
    again = [tuple(x.numpy() for x in pair) for pair in batches.from_epoch(1).take(2)]
    for (rainy, clean), (same_rainy, same_clean) in zip(stream[2:], again, strict=True):
        np.testing.assert_array_equal(rainy, same_rainy)
        np.testing.assert_array_equal(clean, same_clean)
    assert not np.array_equal(stream[0][0], stream[1][0])
    assert stream[0][0].shape == (3, 16, 16, 3) and stream[0][0].dtype == np.float32
    other = PatchBatches(source, 16, 3, 2, seed=5)
    assert not np.array_equal(other.batch(0)[0], batches.batch(0)[0])


def test_photographs_come_as_often_as_drawn_scenes_and_at_several_scales():
    stripes = np.tile((np.arange(64) % 8 < 4)[:, None, None] * np.uint8(200), (1, 64, 3))
    photograph = CleanImage("photograph", stripes)
    scenes = [
        CleanImage(f"scene-{n}", np.full((64, 64, 3), 255, np.uint8), is_drawn=True)
        for n in range(9)
    ]
    source = MadePatches([photograph, *scenes], ("streaks",), ("light",))
    random = np.random.default_rng(0)
    clean = [source.patch(random, 16)[1] for _ in range(200)]
    stripes = [patch for patch in clean if patch.min() < 0.9]
    assert 70 < len(stripes) < 130
    # Reduced stripes are narrower: more changes from line to line.
    edges = {int((np.abs(np.diff(patch[:, 0, 0] > 0.4))).sum()) for patch in stripes}
    assert min(edges) <= 4 and max(edges) >= 8


def test_both_images_of_a_pair_are_turned_alike(draw):
    class Marked:
        def patch(self, random, size):
            image = random.random((size, size, 3)).astype("float32")
            return image, image + 1

    rainy, clean = PatchBatches(Marked(), 8, batch_size=16, batches_per_epoch=1).batch(0)
    np.testing.assert_allclose(clean - rainy, 1, atol=1e-6)


def test_there_are_eight_ways_to_turn():
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, way).tobytes() for way in range(8)}) == 8


def test_small_images_are_mirrored_to_a_patch(draw):
    assert at_least(draw(0, 5, 40), 16).shape == (16, 40, 3)
    assert at_least(draw(0, 1, 1), 16).shape == (16, 16, 3)


# === Splits ===


def test_versions_of_a_clean_image_stay_in_one_part(rainy_folder):
    data = examples(config(path=str(rainy_folder(10)), test_fraction=0.3))
    assert len(data.test) == 6 and len(data.validation) == 2 and data.train_count == 6
    trained = {pair.read()[1].pixels.tobytes() for pair in data.train.pairs}
    assert not trained & scenes(data.test) and not trained & scenes(data.validation)
    assert not scenes(data.test) & scenes(data.validation)


def test_parts_that_folders_say_are_kept_and_leaks_are_left_out(rainy_folder):
    rainy_folder(4, "train")
    root = rainy_folder(2, "test", first=3)  # image 3 is in both
    data = examples(config(path=str(root)))
    assert len(data.test) == 4
    trained = {pair.read()[1].pixels.tobytes() for pair in data.train.pairs}
    assert not trained & scenes(data.test)
    assert any("left out: their clean image is in test" in note for note in data.notes)


def test_the_seed_decides_the_split(rainy_folder):
    root = str(rainy_folder(8))
    one, same, other = (
        examples(DerainingConfig(domain="deraining", seed=seed, data={"path": root}))
        for seed in (1, 1, 2)
    )
    assert one.digest == same.digest != other.digest


def test_too_few_images_say_so(rainy_folder):
    with pytest.raises(DataError, match="expected at least 3 clean images"):
        examples(config(path=str(rainy_folder(2))))


def test_a_bad_pair_is_skipped_with_a_note_or_refused(rainy_folder, capsys):
    root = rainy_folder(5)
    (root / "input" / "0_1.png").write_bytes(b"")
    data = examples(config(path=str(root)))
    assert any("0_1.png: is empty" in note for note in data.notes)
    assert "skipped" in capsys.readouterr().err
    with pytest.raises(DataError, match="is empty"):
        examples(config(path=str(root), strict=True))


def test_sample_data_have_every_kind_and_level():
    data = examples(config(kinds=("streaks", "snow"), levels=("light", "heavy"), test_size=48))
    assert {(e.labels["kind"], e.labels["level"]) for e in data.test} == {
        (kind, level) for kind in ("streaks", "snow") for level in ("light", "heavy")
    }
    assert len(data.test) == 16 and data.test[0].rainy.shape == (48, 48, 3)
    assert (
        data.digest
        == examples(
            data_config := config(
                kinds=("streaks", "snow"), levels=("light", "heavy"), test_size=48
            )
        ).digest
        and data_config.data.test_size == 48
    )


# === Reading ===


def test_the_cache_keeps_what_fits(tmp_path, draw, save):
    for name in "ab":
        save(tmp_path / "input" / f"{name}.png", draw(0))
        save(tmp_path / "gt" / f"{name}.png", draw(1))
    first, second = find_pairs(tmp_path).pairs
    cache = PairCache(megabytes=0)
    cache._left = 2 * draw(0).nbytes  # one pair
    assert cache.read(first)[0] is cache.read(first)[0]
    assert cache.read(second)[0] is not cache.read(second)[0]
    np.testing.assert_array_equal(cache.read(second)[1], draw(1))


@pytest.mark.parametrize(
    "name, protocol",
    [("Rain200L", "A"), ("DID-Data", "B"), ("DDN-Data", "B"), ("All-Weather", "C"), ("mine", "A")],
)
def test_the_protocol_follows_the_data_set(name, protocol):
    assert protocol_of(config().data, Path(name)) == protocol
    assert protocol_of(config(protocol="C").data, Path(name)) == "C"


def test_inspect_a_folder_of_pairs(rainy_folder):
    root = rainy_folder(3)
    (root / "input" / "lonely.png").write_bytes((root / "input" / "0_1.png").read_bytes())
    found = inspect(root)
    assert found["pairs"] == 6 and found["rules"] == {"prefix": 6}
    assert found["sizes"] == {"32 x 24": 6} and found["modes"] == {"RGB": 6}
    assert sum(found["rain"].values()) == 6
    assert any("lonely.png" in note for note in found["notes"])


def test_inspect_images_without_truth(tmp_path, draw, save):
    save(tmp_path / "a.png", draw())
    (tmp_path / "b.png").write_bytes(b"no image")
    found = inspect(tmp_path)
    assert found["images"] == 2 and "is no image" in found["each"][1]["mode"]
    assert inspect(tmp_path / "a.png")["each"] == [
        {"image": "a.png", "size": "32 x 24", "mode": "RGB"}
    ]


def test_levels_are_those_of_the_synthesiser():
    assert [level_of(x) for x in (35, 24, 13)] == ["light", "medium", "heavy"]


def test_inspect_real_pairs(rain_data):
    found = inspect(rain_data / "rain100H")
    assert found["pairs"] == 5 and found["rain"] == {"heavy": 5}
