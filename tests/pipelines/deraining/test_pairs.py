from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.matching import match_names
from moe_apps.pipelines.deraining.pairs import find_pairs


@pytest.fixture
def folder(tmp_path, draw, save):
    """A folder with tiny images of the given names."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            save(tmp_path / name, draw(number, 4, 6))
        return tmp_path

    return make


def together(root: Path, **settings) -> dict[str, str]:
    found = find_pairs(root, **settings)
    return {pair.name: pair.target.relative_to(root).as_posix() for pair in found.pairs}


# Names as the public sets have them: input, target, rule.
LAYOUTS = {
    "Rain200L": ("input/1.png", "target/1.png", "equal names"),
    "Rain100L": ("rain/rain-001.png", "norain/norain-001.png", "rain replaced by norain"),
    "DDN": ("rainy_image/901_14.jpg", "ground_truth/901.jpg", "prefix"),
    "Outdoor-Rain": ("in/im_0001_s80_a04.png", "gt/im_0001.png", "prefix"),
    "RainDrop": ("test_a/data/7_rain.png", "test_a/gt/7_clean.png", "rain replaced by clean"),
    "Snow100K": (
        "Snow100K-S/synthetic/city_read_1.jpg",
        "Snow100K-S/gt/city_read_1.jpg",
        "equal names",
    ),
    "All-Weather": ("input/im_0002_s95_a05.png", "gt/im_0002.png", "prefix"),
    "RainCityscapes": (
        "rain/bonn_0_leftImg8bit_rain_alpha_0.02_beta_0.01_dropsize_0.005_pattern_3.png",
        "norain/bonn_0_leftImg8bit.png",
        "prefix",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_public_layouts_are_found(folder, name):
    rainy, clean, rule = LAYOUTS[name]
    root = folder(rainy, clean)
    found = find_pairs(root)
    assert together(root) == {rainy: clean}
    assert found.rules == {rule: 1} and found.unmatched == ()


def test_many_inputs_share_a_target_and_the_longest_name_wins():
    targets = [PurePath(name) for name in ("1.png", "1_2.png", "11.png")]
    inputs = [PurePath(name) for name in ("1_2_3.png", "1_3.png", "11_1.png", "111.png")]
    found = match_names(inputs, targets)
    assert {str(a): str(b) for a, b in found.targets.items()} == {
        "1_2_3.png": "1_2.png",
        "1_3.png": "1.png",
        "11_1.png": "11.png",
    }
    assert [str(path) for path in found.inputs_left] == ["111.png"]


def test_equal_names_in_different_subfolders_stay_apart():
    names = [PurePath("a/1.png"), PurePath("b/1.png")]
    found = match_names(names, names)
    assert dict(found.targets) == {name: name for name in names}


def test_both_in_one_folder(folder):
    root = folder("rain-001.png", "norain-001.png", "rain-002.png", "norain-002.png")
    assert together(root) == {"rain-001.png": "norain-001.png", "rain-002.png": "norain-002.png"}


def test_names_without_a_partner_are_reported(folder):
    root = folder("input/1.png", "input/2.png", "target/1.png", "target/3.png")
    assert find_pairs(root).unmatched == ("input/2.png", "target/3.png")


def test_parts_and_groups_come_from_the_folders(folder):
    root = folder(
        "train/Rain13K/input/1.png",
        "train/Rain13K/target/1.png",
        "test/Rain100L/input/1.png",
        "test/Rain100L/target/1.png",
        "test/Test1200/input/1.png",
        "test/Test1200/target/1.png",
    )
    found = {pair.group: pair.part for pair in find_pairs(root).pairs}
    assert found == {"train/Rain13K": "train", "test/Rain100L": "test", "test/Test1200": "test"}


@pytest.mark.parametrize("side", ["left", "right"])
def test_two_images_side_by_side(tmp_path, draw, save, side):
    clean, rainy = draw(0), draw(1)
    both = [clean, rainy] if side == "left" else [rainy, clean]
    save(tmp_path / "1.png", np.concatenate(both, axis=1))
    (pair,) = find_pairs(tmp_path, "side_by_side", side).pairs
    found_rainy, found_clean = pair.read()
    np.testing.assert_array_equal(found_rainy.pixels, rainy)
    np.testing.assert_array_equal(found_clean.pixels, clean)
    assert pair.size() == (24, 32)


def test_an_odd_width_cannot_be_halved(tmp_path, draw, save):
    save(tmp_path / "1.png", draw(0, 4, 7))
    (pair,) = find_pairs(tmp_path, "side_by_side").pairs
    with pytest.raises(DataError, match="7 pixels wide"):
        pair.read()


@pytest.mark.parametrize("separator, slash", [(" ", ""), ("\t", ""), (" ", "/")])
def test_a_list_file(folder, separator, slash):
    root = folder("a/x.png", "b/y.png")
    (root / "list.txt").write_text(f"{slash}a/x.png{separator}{slash}b/y.png\n\n")
    (pair,) = find_pairs(root / "list.txt").pairs
    assert (pair.input, pair.target) == (root / "a/x.png", root / "b/y.png")


@pytest.mark.parametrize(
    "text, words",
    [("a/x.png\n", "line 1: expected two paths"), ("a/x.png z.png", "no such file"), ("", "empty")],
)
def test_bad_lists_name_the_line(folder, text, words):
    root = folder("a/x.png")
    (root / "list.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        find_pairs(root / "list.txt")


def test_pairs_of_different_size_name_both_files(tmp_path, draw, save):
    save(tmp_path / "input" / "1.png", draw(0, 8, 8))
    save(tmp_path / "target" / "1.png", draw(0, 8, 9))
    (pair,) = find_pairs(tmp_path).pairs
    for read in (pair.read, pair.size):
        with pytest.raises(DataError, match=r"8 x 8 pixels.*9 x 8: expected equal sizes"):
            read()


def test_a_folder_without_pairs_says_what_was_expected(folder):
    root = folder("holiday.png", "beach.png")
    with pytest.raises(DataError, match=r"no pairs of images found; without a partner: beach.png"):
        find_pairs(root)


def test_real_folders(rain_data):
    for name, count in (("rain100L", 12), ("rain100H", 5)):
        found = find_pairs(rain_data / name)
        assert len(found.pairs) == count and found.unmatched == ()
        assert found.pairs[0].size() in ((320, 480), (480, 320))
