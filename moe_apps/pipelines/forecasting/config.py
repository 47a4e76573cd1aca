"""Settings of a forecasting run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.forecasting.model_settings import ModelSettings
from moe_apps.pipelines.train_settings import TrainSettings


class DataSettings(Settings):
    """Which file, how it is read, and how it is cut into windows.

    Attributes:
        path: CSV or Parquet file; None for the sample data.
        time_column: Name of the time column; None finds it, "none" says there is none.
        id_columns: Columns that tell series apart in a long file; None finds them.
        value_columns: Columns to forecast; None takes all numeric ones.
        frequency: Time step as a pandas alias such as "h"; None takes the most common one.
        protocol: "fraction" splits each series by shares of its rows; "ett" takes 12, 4 and 4
            months of 30 days.
        train_fraction: Share of rows for training, with "fraction".
        test_fraction: Share of rows for test, with "fraction".
        look_back: Steps of history that a forecast is made from.
        horizon: Steps that are forecast.
        stride: Steps from one training window to the next.
        season: Steps of a season, for the seasonal baseline and MASE; None takes a usual one.
        calendar: Let models that can use it know hour, weekday and time of year.
        known_columns: Columns that are known beforehand, also of what is to be forecast (prices,
            plans, a weather forecast).
        past_columns: Columns that are known up to now.
        static_columns: Columns that are constant within a series.
        holidays: Country (and region, as in "US" or "DE-BY") whose holidays are known beforehand;
            needs the extra holidays.
    """

    path: str | None = None
    time_column: str | None = None
    id_columns: list[str] | None = None
    value_columns: list[str] | None = None
    frequency: str | None = None
    protocol: Literal["fraction", "ett"] = "fraction"
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    look_back: int = Field(default=192, ge=1)
    horizon: int = Field(default=24, ge=1)
    stride: int = Field(default=1, ge=1)
    season: int | None = Field(default=None, ge=1)
    calendar: bool = True
    known_columns: tuple[str, ...] = ()
    past_columns: tuple[str, ...] = ()
    static_columns: tuple[str, ...] = ()
    holidays: str | None = None

    @property
    def covariates(self) -> tuple[str, ...]:
        """All columns that are beside the values."""
        return (*self.known_columns, *self.past_columns, *self.static_columns)


USES: dict[str, tuple[str, ...]] = {
    "known_columns": ("mohets", "linear_moe"),
    "static_columns": ("mohets", "linear_moe"),
    "holidays": ("mohets", "linear_moe"),
    "past_columns": ("mohets",),
}
"""Covariates, and the systems that can use them."""


class ForecastingTrainSettings(TrainSettings):
    """Training settings, and how training windows are varied.

    Attributes:
        flip: Turn each training window upside down with probability 1/2; None leaves it to the
            system: time_moe does, models that know the calendar do not.
        mix: Share of training windows that are a convex mixture of two (of any series), as in
            TSMixup (Ansari et al. 2024, "Chronos", arXiv 2403.07815); None leaves it to the
            system: time_moe mixes half of them, models that know the calendar none.
        first_position: Positions of a window before this one give no loss, since they have
            little history; None for a quarter of the look-back.
    """

    epochs: int = Field(default=6, ge=1, le=100_000)
    steps_per_epoch: int | None = Field(default=60, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.1, ge=0, le=10)
    beta_2: float = Field(default=0.95, ge=0, lt=1)
    ema: float = Field(default=0.98, ge=0, lt=1)
    flip: bool | None = None
    mix: float | None = Field(default=None, ge=0, le=1)
    first_position: int | None = Field(default=None, ge=0)


class EvaluationSettings(Settings):
    """How a model is judged.

    Attributes:
        stride: Steps from one validation or test window to the next at the end; benchmarks use 1.
        validation_windows: About how many validation windows are forecast after each epoch.
        dense_twin: Also train the same network with dense layers of equal active width.
        batch_size: Windows forecast at once.
    """

    stride: int = Field(default=1, ge=1)
    validation_windows: int = Field(default=1000, ge=1)
    dense_twin: bool = True
    batch_size: int = Field(default=64, ge=1)


class IntervalSettings(Settings):
    """Prediction intervals around the forecasts of any system.

    Attributes:
        levels: Central intervals in percent, such as [80, 95]. By default none, and 80 and 95
            where the model has quantiles of its own (model.head). In training and `evaluate` they
            are scored on the test part, `predict` writes them.
        calibration: conformal (by the errors of earlier windows) or none (what a model with
            quantiles of its own says).
        windows: Earlier windows of the same series whose errors make an interval.
        renewed: Test windows after which these errors are taken anew.
    """

    levels: tuple[float, ...] = ()
    calibration: Literal["conformal", "none"] = "conformal"
    windows: int = Field(default=720, ge=1)
    renewed: int = Field(default=24, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> IntervalSettings:
        if any(not 0 < level < 100 for level in self.levels):
            raise ValueError(f"levels are percents between 0 and 100, such as 80; {self.levels}")
        return self


class PredictSettings(Settings):
    """What `predict` writes.

    Attributes:
        anomalies: Instead of forecasts, how unlikely each value of the file was beforehand.
    """

    anomalies: bool = False


class ForecastingConfig(RunConfig):
    """All settings of a forecasting run.

    Example:
        >>> ForecastingConfig(domain="forecasting").data.horizon
        24
    """

    domain: str = "forecasting"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: ForecastingTrainSettings = ForecastingTrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    intervals: IntervalSettings = IntervalSettings()
    predict: PredictSettings = PredictSettings()

    @model_validator(mode="after")
    def _usable(self) -> ForecastingConfig:
        for setting in ("known_columns", "past_columns", "static_columns", "holidays"):
            systems = USES[setting]
            if getattr(self.data, setting) and self.model.name not in systems:
                raise ValueError(
                    f"{self.model.name} cannot use data.{setting}; {' and '.join(systems)} can"
                )
        if self.intervals.calibration == "none" and self.model.head == "point":
            raise ValueError(
                "intervals.calibration is none, but model.head is point, which has no quantiles of "
                "its own; model.head=quantile or student_t has"
            )
        for level in self.intervals.levels:
            if not self._has(level):
                first, last = self.model.quantiles[0], self.model.quantiles[-1]
                raise ValueError(
                    f"intervals.levels: {level:g} % lies beyond model.quantiles, which go from "
                    f"{first:g} to {last:g}"
                )
        return self

    @property
    def interval_levels(self) -> tuple[float, ...]:
        """The levels that were asked for, or those that a head has by default.

        Example:
            >>> ForecastingConfig().interval_levels
            ()
        """
        if self.intervals.levels or self.model.head == "point":
            return self.intervals.levels
        return tuple(level for level in (80.0, 95.0) if self._has(level))

    def _has(self, level: float) -> bool:
        """Whether the model's head, if it has one, reaches as far as an interval of a level."""
        tail = (1 - level / 100) / 2
        first, last = self.model.quantiles[0], self.model.quantiles[-1]
        inside = first <= tail + 1e-9 and 1 - tail - 1e-9 <= last
        return self.model.head != "quantile" or inside
