"""Columns beside the values, from the file to the served model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.covariates import fitted_scale, with_holidays
from moe_apps.pipelines.forecasting.data import windowed_data
from moe_apps.pipelines.forecasting.panel import Panel, Series
from moe_apps.pipelines.forecasting.prediction import request
from moe_apps.pipelines.forecasting.readers import read_panel
from moe_apps.pipelines.forecasting.training_windows import window_batches
from moe_apps.pipelines.run_folder import RunFolder

SMALL = [
    *("data.look_back=14", "data.horizon=7", "train.epochs=12", "train.steps_per_epoch=20"),
    *("train.batch_size=64", "train.learning_rate=0.02", "evaluation.dense_twin=false"),
]
COLUMNS = ["data.known_columns=[price]", "data.static_columns=[size]"]


def shops(days: int = 400, ahead: int = 0) -> pd.DataFrame:
    """Sales of two shops that fall where the price is high, by chance on a day in two."""
    random = np.random.default_rng(0)
    parts = []
    for name, size in ("a", 1.0), ("b", 3.0):
        price = random.integers(0, 2, days).astype(float)
        # The whole week that follows a high price is low: the gate sees the first day of it.
        week = np.repeat(price[::7], 7)[:days]
        sales = size * (10 - 6 * week + 0.3 * random.normal(size=days))
        sales[days - ahead :] = np.nan
        times = pd.date_range("2024-01-01", periods=days)
        parts.append(
            pd.DataFrame({"id": name, "day": times, "sales": sales, "price": week, "size": size})
        )
    return pd.concat(parts)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shops") / "shops.csv"
    shops().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("runs") / "shops"
    settings = [*SMALL, *COLUMNS, "model.name=linear_moe"]
    return run, moe_apps.train("forecasting", data=table, set=settings, output=run)


def config(*, name: str = "mohets", **data) -> ForecastingConfig:
    sizes = {"look_back": 14, "horizon": 7}
    return ForecastingConfig(data={**sizes, **data}, model={"name": name})


def test_rows_of_covariates_alone_are_the_future_and_not_values(tmp_path):
    shops(ahead=10).to_csv(tmp_path / "next.csv", index=False)
    panel = read_panel(tmp_path / "next.csv", covariates=["price", "size"])
    assert [series.name for series in panel.series] == ["a", "b"]
    assert panel.covariates == ("price", "size")
    for series in panel.series:
        assert len(series) == 390 and series.covariates.shape == (400, 2)
        assert series.observed.all()


def test_windows_have_calendar_and_scaled_columns_and_hide_what_is_past(table):
    known = config(path=str(table), known_columns=["price"], past_columns=["size"])
    data = windowed_data(known)
    assert data.known_features == 4 + 2  # week and year, price and size
    batch = data.train.gather(np.array([0, 300]))
    price = batch.known[:, :, 4] * data.scale.deviation[0] + data.scale.mean[0]
    assert set(np.unique(price.round(5))) <= {0.0, 1.0}
    assert not batch.known[:, 14:, 5].any() and batch.known[:, :14, 5].any()
    train = [series.covariates[:280] for series in data.panel.series]
    assert data.scale == fitted_scale(train)
    inputs, _ = next(iter(window_batches(data.train, known).from_epoch(0)))
    assert not inputs["known"][:, 14:, 5].numpy().any()
    assert inputs["known"][:, 14:, 4].numpy().any()


def test_a_model_uses_what_it_is_told_beforehand(trained, table, tmp_path):
    _, metrics = trained
    assert metrics["test"]["mse"] < 0.7 * metrics["baselines"]["ridge"]["mse"]
    again = moe_apps.evaluate(trained[0])
    assert again["test"]["mse"] == pytest.approx(metrics["test"]["mse"], rel=1e-5)


def test_forecasts_follow_the_covariates_of_the_horizon(trained, tmp_path):
    run, _ = trained
    answers = {}
    for name, price in ("low", 0.0), ("high", 1.0):
        frame = shops(days=406, ahead=7)  # 399 days, so that a week begins
        frame.loc[frame["sales"].isna(), "price"] = price
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        moe_apps.predict(run, input=tmp_path / f"{name}.csv", output=tmp_path / "out.csv")
        answers[name] = pd.read_csv(tmp_path / "out.csv")["forecast"].to_numpy()
    assert answers["low"].mean() > answers["high"].mean() + 2


def test_the_served_model_takes_them_as_they_are_in_the_file(trained, tmp_path):
    run, _ = trained
    shops(days=406, ahead=7).to_csv(tmp_path / "next.csv", index=False)
    moe_apps.predict(run, input=tmp_path / "next.csv", output=tmp_path / "out.csv")
    expected = pd.read_csv(tmp_path / "out.csv")["forecast"].to_numpy().reshape(2, 7)
    asked = request(RunFolder.open(run), tmp_path / "next.csv")
    assert asked["covariates"].shape == (2, 14 + 7, 2)
    served = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["serving_default"]
    tensors = {name: tf.constant(value) for name, value in asked.items()}
    answer = served(**tensors)["forecast"].numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4)
    tensors["covariates"] = tensors["covariates"][:, 1:]
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many time steps"):
        served(**tensors)


def test_covariates_that_end_before_the_horizon_are_named(trained, tmp_path):
    run, _ = trained
    shops(days=403, ahead=3).to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(UserError, match=r"'a': price, size end at 2025-02-06 .* up to 2025-02-10"):
        moe_apps.predict(run, input=tmp_path / "short.csv", output=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.known_columns=[price]"], "time_moe cannot use data.known_columns; mohets and lin"),
        (["data.past_columns=[price]", "model.name=linear_moe"], "linear_moe cannot use data.past"),
        (["data.known_columns=[prise]", "model.name=mohets"], "did you mean 'price'"),
        (["data.known_columns=[id]", "model.name=mohets"], "column 'id'"),
        (["data.holidays=XX", "model.name=mohets"], "'XX' is no .*country"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(settings, message, table, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train("forecasting", data=table, set=settings, output=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_blank_where_it_has_to_be_known_is_refused(tmp_path):
    frame = shops(ahead=10)
    frame.iloc[395, frame.columns.get_loc("price")] = np.nan
    frame.to_csv(tmp_path / "blank.csv", index=False)
    with pytest.raises(UserError, match="a: a covariate is blank in rows after the last value"):
        read_panel(tmp_path / "blank.csv", covariates=["price", "size"])
    panel = read_panel(tmp_path / "blank.csv", covariates=["price", "size"], blank_ahead=["price"])
    known = panel.series[0].covariates[:, 0]
    assert known[395] == known[394]


def test_holidays_are_known_for_the_horizon_too():
    days = Series("x", pd.Timestamp("2024-12-20"), np.ones(4), np.ones(4, bool))
    panel = with_holidays(Panel((days,), pd.offsets.Day()), "DE-BY", horizon=4)
    assert panel.series[0].covariates[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0]
    assert panel.covariates == ("holiday",)
