"""Settings of a forecasting run."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
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


ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("preset", "num_layers", "num_heads"), ("time_moe", "mohets")),
    **dict.fromkeys(("hidden_dim", "intermediate_dim"), ("time_moe", "mohets")),
    **dict.fromkeys(("horizon_lengths", "rope_theta", "normalize"), ("time_moe",)),
    **dict.fromkeys(("balance_form", "router", "experts"), ("time_moe",)),
    **dict.fromkeys(("rank", "gate_dim", "train_shared", "loss"), ("linear_moe",)),
    **dict.fromkeys(("num_key_heads", "patch", "dropout", "drop_path"), ("mohets",)),
    **dict.fromkeys(("scaled_init", "one_shot", "weight_behind"), ("mohets",)),
}
"""Settings of the model that only some systems have."""


USES: dict[str, tuple[str, ...]] = {
    "known_columns": ("mohets", "linear_moe"),
    "static_columns": ("mohets", "linear_moe"),
    "holidays": ("mohets", "linear_moe"),
    "past_columns": ("mohets",),
}
"""Covariates, and the systems that can use them."""


class ModelSettings(Settings):
    """The model; a size that is given overrides the preset's.

    What only some systems have is named with them; the others refuse another value than the
    default.

    Attributes:
        name: The system.
        preset: Named sizes: tiny, small (two CPU cores), base, large, ultra (the paper's).
        num_layers: Decoder blocks.
        num_heads: Attention heads.
        hidden_dim: Width.
        intermediate_dim: Hidden width of the shared unit; a routed one has this divided by k.
        num_experts: Routed experts.
        k: Routed experts per point.
        horizon_lengths: Lengths of the forecast heads, with 1 among them.
        rope_theta: Base of the rotary positions; None takes 10000 for the paper's sizes, and for
            tiny and small the base that makes one of the frequencies the season.
        normalize: Scale each window by its own history; the published benchmark runs do not.
        balance_loss_weight: Factor of the balance loss.
        balance_form: "paper" (1 at balance, by layer) or "code" (k at balance, pooled).
        router: Name of a registered router.
        experts: Name of a registered expert bank.
        dispatch: dropless, capacity or dense.
        rank: Rank of a linear expert, of linear_moe.
        gate_dim: Width of the gate's hidden layer, of linear_moe.
        train_shared: Train the linear forecast that linear_moe starts from further.
        loss: Training error of linear_moe: squared, absolute or huber.
        num_key_heads: Key and value heads, of mohets.
        patch: Steps of a token, of mohets; the look-back is a multiple of it.
        dropout: Rate of dropout, of mohets.
        drop_path: Rate at which branches of the last block are dropped, of mohets.
        scaled_init: Smaller first weights of the Fourier experts of mohets than its code has.
        one_shot: Let mohets forecast the horizon at once instead of 24 steps at a time.
        weight_behind: Weight of the steps of mohets' target that its input shows already.
    """

    # Both names: what the model is, is asked for in either way.
    name: Literal["time_moe", "mohets", "linear_moe"] = Field(
        default="time_moe", validation_alias=AliasChoices("name", "system")
    )
    preset: Literal["tiny", "small", "base", "large", "ultra"] = "tiny"
    num_layers: int | None = Field(default=None, ge=1)
    num_heads: int | None = Field(default=None, ge=1)
    hidden_dim: int | None = Field(default=None, ge=2)
    intermediate_dim: int | None = Field(default=None, ge=1)
    num_experts: int = Field(default=8, ge=1)
    k: int = Field(default=2, ge=1)
    horizon_lengths: tuple[int, ...] = (1, 8, 32, 64)
    rope_theta: float | None = Field(default=None, gt=1)
    normalize: bool = True
    balance_loss_weight: float = Field(default=0.02, ge=0)
    balance_form: Literal["paper", "code"] = "paper"
    router: str = "top_k"
    experts: str = "swiglu"
    dispatch: Literal["dropless", "capacity", "dense"] = "dropless"
    rank: int = Field(default=8, ge=1)
    gate_dim: int = Field(default=16, ge=1)
    train_shared: bool = True
    loss: Literal["squared", "absolute", "huber"] = "squared"
    num_key_heads: int | None = Field(default=None, ge=1)
    patch: int | None = Field(default=None, ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    drop_path: float = Field(default=0.3, ge=0, lt=1)
    scaled_init: bool = False
    one_shot: bool = False
    weight_behind: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        if 1 not in self.horizon_lengths or min(self.horizon_lengths) < 1:
            raise ValueError("horizon_lengths must be positive and include 1")
        if self.k > self.num_experts:
            raise ValueError(f"k is {self.k}, but num_experts is {self.num_experts}")
        for setting, systems in ONLY.items():
            value = getattr(self, setting)
            if self.name not in systems and value != type(self).model_fields[setting].default:
                raise ValueError(
                    f"{self.name} has no setting {setting} (given as {value}); it is of "
                    f"{' and '.join(systems)}"
                )
        return self


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
        levels: Central intervals in percent, such as [80, 95]; none by default. In training and
            `evaluate` they are scored on the test part, `predict` writes them.
        windows: Earlier windows of the same series whose errors make an interval.
        renewed: Test windows after which these errors are taken anew.
    """

    levels: tuple[float, ...] = ()
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
        return self
