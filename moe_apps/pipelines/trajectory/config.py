"""Settings of a trajectory run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.train_settings import TrainSettings

Format = Literal[
    "auto",
    "ngsim",
    "highd",
    "ind",
    "citysim",
    "interaction",
    "commonroad",
    "argoverse2",
    "trajnet",
    "eth",
    "table",
]


class SimulatorSettings(Settings):
    """What is simulated, and how well it is measured.

    Attributes:
        roads: Roads, each a recording of its own, with a density of its own.
        vehicles: Vehicles on each road.
        lanes: Lanes of a road.
        lane_width: Metres.
        seconds: Length of a recording.
        lowest_density: Vehicles a kilometre and lane on the emptiest road.
        highest_density: The same on the fullest road.
        abort_share: Share of lane changes that are given up before the line is crossed.
        slow_down_every: Seconds between a driver's slow-downs for no visible reason, on average.
        noise: Standard deviation of the error of each position, along and across, in metres.
        drift: Standard deviation of an error that changes over some seconds, in metres.
    """

    roads: int = Field(default=40, ge=1)
    vehicles: int = Field(default=60, ge=2, le=1000)
    lanes: int = Field(default=3, ge=1, le=10)
    lane_width: float = Field(default=3.6, ge=2.5, le=6)
    seconds: float = Field(default=80.0, ge=1)
    lowest_density: float = Field(default=12.0, gt=0, le=60)
    highest_density: float = Field(default=28.0, gt=0, le=60)
    abort_share: float = Field(default=0.08, ge=0, le=1)
    slow_down_every: float = Field(default=60.0, gt=0)
    noise: float = Field(default=0.02, ge=0, le=5)
    drift: float = Field(default=0.05, ge=0, le=5)


class DataSettings(Settings):
    """Which tracks, and how they are cut into windows.

    Attributes:
        path: File or folder; None for the built-in simulator.
        format: Format of the files; "auto" finds it.
        strict: Whether one bad file in a folder is an error; else it is skipped and noted.
        rate: Steps a second that tracks are brought to.
        history: Seconds that a prediction is made from.
        horizon: Seconds that are predicted.
        velocity_seconds: Seconds over which the present velocity is taken.
        labels: "prediction": the side of the next crossing within `intention_window`;
            "recognition": also some seconds after it, as in convolutional social pooling.
        intention_window: Seconds.
        split: Unit of the split: "recording", "vehicle", or "auto": recordings where there are
            at least 10, else vehicles.
        train_fraction: Share of units for training.
        test_fraction: Share of units for test.
        train_windows: Most windows for training.
        keep_share: Share of training windows in which the lane is kept; all windows before lane
            changes are used as far as this leaves room.
        simulator: What is simulated when there is no path.
    """

    path: str | None = None
    format: Format = "auto"
    strict: bool = False
    rate: float = Field(default=5.0, gt=0, le=100)
    history: float = Field(default=3.0, gt=0, le=60)
    horizon: float = Field(default=5.0, gt=0, le=60)
    velocity_seconds: float = Field(default=0.5, gt=0)
    labels: Literal["prediction", "recognition"] = "prediction"
    intention_window: float = Field(default=3.0, gt=0)
    split: Literal["auto", "recording", "vehicle"] = "auto"
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    train_windows: int = Field(default=80_000, ge=1)
    keep_share: float = Field(default=0.8, gt=0, lt=1)
    simulator: SimulatorSettings = SimulatorSettings()

    @property
    def history_steps(self) -> int:
        """Steps of history, the present one included."""
        return round(self.history * self.rate) + 1

    @property
    def horizon_steps(self) -> int:
        """Steps that are predicted."""
        return round(self.horizon * self.rate)

    @property
    def velocity_span(self) -> int:
        """Steps over which the present velocity is taken."""
        return max(round(self.velocity_seconds * self.rate + 1e-6), 1)

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        if self.horizon_steps < 1:
            raise ValueError(f"horizon {self.horizon} s is less than a step at {self.rate} Hz")
        if self.velocity_span >= self.history_steps:
            raise ValueError(
                f"history {self.history} s at {self.rate} Hz has {self.history_steps} steps, "
                f"velocity_seconds {self.velocity_seconds} needs {self.velocity_span + 1}"
            )
        if self.train_fraction + self.test_fraction >= 1:
            raise ValueError("train_fraction and test_fraction leave nothing for validation")
        return self


class ModelSettings(Settings):
    """The model; a size that is given overrides the preset's.

    Attributes:
        name: The system.
        preset: Named sizes: tiny, small (two CPU cores), base.
        channels: Width of the TCN.
        levels: Blocks of the TCN; None for the fewest that see the whole history.
        kernel_size: Taps of the TCN's convolutions.
        dropout: In the TCN.
        gate: mmoe, cgc, ple, omoe (one gate for all tasks) or shared_bottom (one expert).
        experts: dense, gru or tcn.
        num_experts: Experts; a multiple of 3 with cgc and ple.
        expert_dim: Width of an expert.
        head_dim: Width of the heads' hidden layer.
        gate_dropout: Share of gate weights that are dropped in training.
        multimodal: A trajectory for each intention.
        gaussian: A bivariate Gaussian at each step.
        nll_weight: Factor of the Gaussians' likelihood in the loss.
        uncertainty_weighting: Weigh the tasks by learned uncertainties (Kendall et al. 2018).
        context_gate: Give the gates traffic density, speed class, size of vehicle and site.
        sites: Names of sites that the gates know: what a recording's name has before "/".
        initial: Run folder whose trained weights training begins with.
    """

    name: Literal["tmmoe"] = "tmmoe"
    preset: Literal["tiny", "small", "base"] = "small"
    channels: int | None = Field(default=None, ge=1)
    levels: int | None = Field(default=None, ge=1)
    kernel_size: int = Field(default=3, ge=2)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    gate: Literal["mmoe", "cgc", "ple", "omoe", "shared_bottom"] = "mmoe"
    experts: Literal["dense", "gru", "tcn"] = "dense"
    num_experts: int | None = Field(default=None, ge=1)
    expert_dim: int | None = Field(default=None, ge=1)
    head_dim: int | None = Field(default=None, ge=1)
    gate_dropout: float = Field(default=0.0, ge=0, lt=1)
    multimodal: bool = True
    gaussian: bool = True
    nll_weight: float = Field(default=0.2, ge=0)
    uncertainty_weighting: bool = True
    context_gate: bool = False
    sites: tuple[str, ...] = ()
    initial: str | None = None


class TrajectoryTrainSettings(TrainSettings):
    """Training settings, with defaults for two CPU cores."""

    epochs: int = Field(default=24, ge=1, le=100_000)
    steps_per_epoch: int | None = Field(default=120, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0, le=10)
    ema: float = Field(default=0.99, ge=0, lt=1)


class EvaluationSettings(Settings):
    """How a model is judged.

    Attributes:
        stride: Seconds from one test window of a vehicle to the next.
        test_windows: Most test windows; of more, evenly spread ones are taken.
        validation_windows: The same after each epoch.
        near_crossing: Seconds; `macro_f1_near` counts, of the windows before a lane change,
            those at most this long before the crossing.
        dense_twin: Also train the shared-bottom network with as many weights.
        lstm: Also train the single-task and the multi-task LSTM.
        lstm_units: Width of their states.
        batch_size: Windows predicted at once.
    """

    stride: float = Field(default=0.6, gt=0)
    test_windows: int = Field(default=20_000, ge=1)
    validation_windows: int = Field(default=3000, ge=1)
    near_crossing: float = Field(default=2.0, gt=0)
    dense_twin: bool = True
    lstm: bool = True
    lstm_units: int = Field(default=64, ge=1)
    batch_size: int = Field(default=512, ge=1)


class TrajectoryConfig(RunConfig):
    """All settings of a trajectory run.

    Example:
        >>> settings = TrajectoryConfig().data
        >>> settings.history_steps, settings.horizon_steps, settings.velocity_span
        (16, 25, 3)
    """

    domain: str = "trajectory"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrajectoryTrainSettings = TrajectoryTrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
