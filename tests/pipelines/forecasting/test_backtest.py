"""Back-tests: what is known at a cut-off, and what is compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.forecasting import backtest as module


def test_forecasts_from_past_moments_and_what_came(linear_run, hourly_table, tmp_path):
    run, _ = linear_run
    output = tmp_path / "past.csv"
    found = moe_apps.backtest(run, cutoffs=3, stride=24, output=output)
    frame = pd.read_csv(hourly_table, parse_dates=["date"])
    ends = frame["date"].iloc[[-60, -36, -12]]
    assert found["cutoffs"] == [str(time) for time in ends] == list(found["by_cutoff"])
    table = pd.read_csv(output, parse_dates=["time", "cutoff"])
    assert len(table) == 3 * 2 * 12
    assert (table["time"] == table["cutoff"] + pd.to_timedelta(table["step"] - 1, unit="h")).all()
    load = table[table["series"] == "load"].merge(frame, left_on="time", right_on="date")
    np.testing.assert_allclose(load["value"], load["load"])
    # What `predict` says of a file that ends at the cut-off is what the back-test says.
    frame.iloc[:-60].to_csv(tmp_path / "then.csv", index=False)
    moe_apps.predict(run, input=tmp_path / "then.csv", output=tmp_path / "next.csv")
    then = pd.read_csv(tmp_path / "next.csv")["forecast"].to_numpy()
    first = table[table["cutoff"] == ends.iloc[0]]["forecast"]
    np.testing.assert_allclose(first, then, rtol=1e-4)
    # Errors by hand.
    deviation = frame["load"].iloc[:-60].std(ddof=0), frame["wind"].iloc[:-60].std(ddof=0)
    scale = table["series"].map(dict(zip(("load", "wind"), deviation, strict=True)))
    mse = np.square((table["forecast"] - table["value"]) / scale).mean()
    assert found["systems"]["model"]["mse"] == pytest.approx(mse, rel=1e-4)
    assert found["systems"]["model"]["targets"] == 72
    assert found["systems"]["model"]["mse"] < found["systems"]["repeat_last"]["mse"]


def test_nothing_after_a_cut_off_is_used_also_when_it_is_fitted_anew(
    linear_run, hourly_table, tmp_path, monkeypatch
):
    run, _ = linear_run
    seen = []

    def trained(config, windows, run):
        seen.append([len(series) for series in windows.panel.series])
        return real(config, windows, run)

    real = module.train_model
    monkeypatch.setattr(module, "train_model", trained)
    frame = pd.read_csv(hourly_table)
    one = moe_apps.backtest(run, cutoffs=2, stride=30, refit=True, output=tmp_path / "one.csv")
    assert seen == [[378, 378], [408, 408]] and one["refit"]
    frame.loc[378:, ["load", "wind"]] = -1000.0
    frame.to_csv(tmp_path / "other.csv", index=False)
    moe_apps.backtest(
        run,
        data=tmp_path / "other.csv",
        cutoffs=2,
        stride=30,
        refit=True,
        output=tmp_path / "two.csv",
    )
    first, second = (pd.read_csv(tmp_path / f"{name}.csv")[:24] for name in ("one", "two"))
    np.testing.assert_allclose(first["forecast"], second["forecast"], rtol=1e-5)


def test_series_that_begin_late_or_end_early_take_part_where_they_can(linear_run, tmp_path):
    times = pd.date_range("2024-03-01", periods=80, freq="h")
    parts = {"whole": times, "late": times[70:], "cold": times[60:], "early": times[:50]}
    rows = [
        pd.DataFrame({"id": name, "time": stamps, "value": np.sin(np.arange(len(stamps)))})
        for name, stamps in parts.items()
    ]
    pd.concat(rows).to_csv(tmp_path / "long.csv", index=False)
    output = tmp_path / "past.parquet"
    found = moe_apps.backtest(linear_run[0], data=tmp_path / "long.csv", cutoffs=1, output=output)
    table = pd.read_parquet(output)
    assert set(table["series"]) == {"whole", "cold"} and np.isfinite(table["forecast"]).all()
    notes = " ".join(found["notes"])
    assert "on: early" in notes and "no value before" in notes and "late" in notes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoffs": 50}, "need more than 600 rows"),
        ({"cutoffs": 33, "refit": True}, "rows before it that training needs"),
    ],
)
def test_cut_offs_that_do_not_fit_are_refused(settings, message, linear_run, tmp_path):
    output = tmp_path / "past.csv"
    with pytest.raises(UserError, match=message):
        moe_apps.backtest(linear_run[0], output=output, **settings)
    assert not output.exists()
