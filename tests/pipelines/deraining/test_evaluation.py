from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.deraining.evaluation import judge
from moe_apps.pipelines.deraining.examples import Example
from moe_apps.pipelines.deraining.metrics import psnr
from moe_apps.pipelines.deraining.routing import explained, routing_summary


@pytest.fixture
def pairs(draw) -> list[Example]:
    def example(number: int, kind: str, level: str, brighter: int) -> Example:
        clean = np.clip(draw(number), 0, 200).astype(np.uint8)
        return Example(
            f"{number}", clean + np.uint8(brighter), clean, {"kind": kind, "level": level}
        )

    return [
        example(0, "streaks", "light", 5),
        example(1, "streaks", "heavy", 40),
        example(2, "snow", "light", 5),
    ]


def test_scores_are_means_in_all_and_by_factor(pairs):
    found = judge(lambda image: image, pairs, "C")
    values = [psnr(pair.rainy, pair.clean, "C") for pair in pairs]
    assert found["psnr"] == pytest.approx(np.mean(values)) and found["gain"] == 0
    assert found["by_kind"]["streaks"]["psnr"] == pytest.approx(np.mean(values[:2]))
    assert found["by_level"]["heavy"]["psnr"] == pytest.approx(values[1])
    assert found["by_kind_and_level"]["snow light"]["psnr"] == pytest.approx(values[2])
    assert found["by_image"]["1"]["psnr"] == pytest.approx(values[1])


def test_gain_and_worst_gain(pairs):
    found = judge(lambda image: image - np.uint8(5), pairs, "C")  # perfect for the light ones
    assert found["by_level"]["heavy"]["gain"] > 0
    assert found["worst_gain"] == pytest.approx(found["by_image"]["1"]["gain"])
    darker = judge(lambda image: image // 2, pairs, "C")
    assert darker["worst_gain"] < 0


def test_explained_variance_is_one_for_groups_and_none_for_noise():
    names = np.array(["a", "b"] * 200)
    by_group = np.where(names == "a", 1.0, 0.0)[:, None, None] * np.ones((1, 2, 3))
    np.testing.assert_allclose(explained(by_group, names), 1)
    noise = np.random.default_rng(0).normal(size=(400, 2, 3))
    assert (explained(noise, names) < 0.02).all()


def test_routing_is_summed_up_by_kind(pairs):
    class Gates:
        def explain(self, image):
            one = float(image.mean() > 100)
            return {"routing": np.array([[[[one, 1 - one]]]]), "uncertainty": np.full((1, 1), 2.0)}

    dark, bright = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)
    examples = [
        Example(f"{kind} {n}", image, image, {"kind": kind})
        for kind, image in (("snow", bright), ("streaks", dark))
        for n in range(2)
    ]
    found = routing_summary(Gates(), examples)
    assert found["load"] == [[0.5, 0.5]] and found["load_entropy"] == [1.0]
    assert found["by_kind"] == {"snow": [[1.0, 0.0]], "streaks": [[0.0, 1.0]]}
    assert found["specialisation"]["kind"] == [1.0] and found["active_experts"] == 1
    assert found["uncertainty_by_kind"] == {"snow": 2.0, "streaks": 2.0}
