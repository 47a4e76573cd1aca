from __future__ import annotations

import math

import pytest

from moe_apps.tables import show_results, verdict

ROWS = {"the model": {"mse": 0.4}, "ridge": {"mse": 0.37}, "repeat": {"mse": 0.3}}


def test_the_best_rival_is_named_and_others_counted() -> None:
    expected = "repeat does better than the model: mse 0.3 against 0.4, and 1 more do."
    assert verdict(ROWS, "mse", higher_is_better=False) == expected


def test_the_direction_counts() -> None:
    expected = "The model has the highest mse of these: 0.4."
    assert verdict(ROWS, "mse", higher_is_better=True) == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_model_without_a_figure_is_not_praised(value: float | None) -> None:
    rows = {**ROWS, "the model": {"mse": value}}
    assert verdict(rows, "mse", False) == "The model has no mse: its training went wrong."


def test_a_rival_without_a_figure_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {
        "domain": "toy",
        "system": "mean",
        "test": {"mse": 0.4, "by_step": [1.0]},
        "baselines": {"broken": {"mse": None}, "ridge": {"mse": 0.37}},
    }
    show_results(metrics, "mse", higher_is_better=False)
    out = capsys.readouterr().out
    assert out.index("ridge") < out.index("the model") < out.index("broken")
    assert "by_step" not in out
    assert "dense twin" not in out
