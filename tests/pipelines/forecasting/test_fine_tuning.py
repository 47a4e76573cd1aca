"""Training that goes on from another run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.errors import UserError

ALONE = ["evaluation.dense_twin=false", "intervals.levels=[]"]


@pytest.fixture
def elsewhere(hourly_table, tmp_path):
    """Other series than the run has seen: they fall where those rose."""
    frame = pd.read_csv(hourly_table)
    frame[["load", "wind"]] = 3 - 0.1 * frame[["load", "wind"]]
    frame["load"] += 0.3 * np.random.default_rng(1).normal(size=len(frame))
    frame.to_csv(tmp_path / "elsewhere.csv", index=False)
    return tmp_path / "elsewhere.csv"


def test_it_starts_where_the_other_run_ended(linear_run, elsewhere, tmp_path):
    run, _ = linear_run
    still = [*ALONE, "train.learning_rate=1e-9"]
    further = moe_apps.train(
        "forecasting", from_run=run, data=elsewhere, set=still, output=tmp_path / "run"
    )
    as_it_is = moe_apps.evaluate(run, data=elsewhere)
    assert further["test"]["mse"] == pytest.approx(as_it_is["test"]["mse"], rel=1e-3)
    assert further["system"] == "linear_moe" and further["data"]["look_back"] == 24
    details = json.loads((tmp_path / "run" / "run.json").read_text())
    assert details["origin"] == str(run.resolve())
    assert further["training"]["best_val_mse"] <= further["baselines"]["repeat_last"]["mse"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.rank=3"], "its model is another"),
        (["model.name=time_moe", "model.rank=8"], "its model is another"),
        (["data.calendar=false"], "its model is another"),
    ],
)
def test_another_model_is_refused(settings, message, linear_run, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train(
            "forecasting", from_run=linear_run[0], set=[*ALONE, *settings], output=tmp_path / "run"
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_is_no_such_run_is_refused(linear_run, tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        moe_apps.train("forecasting", from_run=tmp_path / "none")
    with pytest.raises(UserError, match="does not train runs further"):
        moe_apps.train("trajectory", from_run=linear_run[0])
    with pytest.raises(UserError, match="give no others"):
        moe_apps.train("forecasting", from_run=linear_run[0], resume=linear_run[0])
