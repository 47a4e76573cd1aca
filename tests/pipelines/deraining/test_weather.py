from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.deraining.metrics import psnr, to_8_bit
from moe_apps.pipelines.deraining.sample_images import drawn_scene, sample_images
from moe_apps.pipelines.deraining.weather import KINDS, LEVELS, Weather, degrade, draw_weather
from moe_apps.pipelines.deraining.weather_layers import pseudo_depth, segment


@pytest.fixture(scope="module")
def china() -> np.ndarray:
    (image,) = [image for image in sample_images("test") if image.name == "china.jpg"]
    return image.pixels.astype(np.float32) / 255


def level_of(clean: np.ndarray, weather: Weather, **settings) -> float:
    """Mean Y-PSNR over three draws."""
    values = [
        psnr(
            to_8_bit(degrade(clean, weather, np.random.default_rng(seed), **settings).image),
            to_8_bit(clean),
        )
        for seed in range(3)
    ]
    return float(np.mean(values))


# Measured at 640 x 427 in the specification of this synthesiser.
@pytest.mark.parametrize(
    "level, additive, screen",
    [("light", 30.2, 33.4), ("medium", 24.2, 27.5), ("heavy", 15.6, 18.3)],
)
def test_streaks_reach_the_levels_they_are_told_to(china, level, additive, screen):
    settings = {"level": level, "jitter": False, "angle": 10.0}
    assert level_of(china, Weather("streaks", mode="additive", **settings), scene_height=480) == (
        pytest.approx(additive, abs=1.5)
    )
    assert level_of(china, Weather("streaks", mode="screen", **settings), scene_height=480) == (
        pytest.approx(screen, abs=2.0)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_more_of_it_is_worse(china, kind):
    values = [level_of(china, Weather(kind, level)) for level in LEVELS]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weather(china, kind):
    small = china[:96, :128]
    one, two, other = (
        degrade(small, Weather(kind, "heavy"), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, two.image)
    assert one.record == two.record
    assert not np.array_equal(one.image, other.image)
    assert one.image.min() >= 0 and one.image.max() <= 1 and one.image.dtype == np.float32
    assert one.record["kind"] == kind and one.record["cover"] == pytest.approx(one.mask.mean())


def test_where_the_mask_is_empty_the_image_is_as_it_was(china):
    made = degrade(china, Weather("streaks", "light"), np.random.default_rng(0))
    untouched = made.mask == 0
    assert 0.2 < untouched.mean() < 1
    np.testing.assert_array_equal(made.image[untouched], china[untouched])


@pytest.mark.parametrize("angle", [-40.0, 0.0, 30.0])
def test_streaks_lean_as_they_are_told_to(angle):
    kernel = segment(31, angle, 1.0)
    rows, columns = np.nonzero(kernel > kernel.max() / 2)
    slope = np.polyfit(rows, columns, 1)[0]
    assert np.rad2deg(np.arctan(slope)) == pytest.approx(angle, abs=2)


def test_haze_thickens_upwards():
    depth = pseudo_depth((200, 100), np.random.default_rng(0))
    assert depth[:20].mean() > 0.8 > 0.4 > depth[-20:].mean()
    lower_half = pseudo_depth((200, 100), np.random.default_rng(0), rows=(0.5, 1.0))
    assert lower_half[:20].mean() == pytest.approx(0.55, abs=0.15)
    grey = np.full((200, 100, 3), 0.2, np.float32)
    hazy = degrade(grey, Weather("haze", "heavy"), np.random.default_rng(0)).image
    assert hazy[:20].mean() > hazy[-20:].mean() + 0.2


def test_drawn_weather_has_all_kinds_and_levels():
    random = np.random.default_rng(0)
    seen = {(w.kind, w.level, w.mode) for w in (draw_weather(random) for _ in range(400))}
    assert len(seen) == len(KINDS) * len(LEVELS) * 2


def test_no_picture_is_in_two_parts():
    names = [
        {image.name for image in sample_images(part)} for part in ("train", "validation", "test")
    ]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]


def test_drawn_scenes_differ_and_repeat():
    one, again, other = drawn_scene(5), drawn_scene(5), drawn_scene(6)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10
    assert one.std() > 20
