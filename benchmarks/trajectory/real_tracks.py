"""Real vehicles: constant velocity beside TMMOE from the simulator, as it is and fine-tuned.

    python benchmarks/trajectory/real_tracks.py ../shared/data/trajectory --seeds 0 1 2

The NGSIM vehicles of three CommonRoad scenarios (45 vehicles at 10 Hz, 3 to 6 s long). First the
error of constant velocity, which was measured before this code existed. Then, in five folds by
vehicle, so that each vehicle is held out once: TMMOE trained in the simulator (zero-shot), the same
fine-tuned on the other vehicles, and trained on those alone. All are judged at the same moments,
every 0.5 s from 0.5 s on, at 1, 2 and 3 s where the truth reaches so far. Rows of other seeds that
the result file has already are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from fine_tuning import Trainer
from seeds import WITHOUT_SEED, put

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.baselines import constant_acceleration, constant_velocity
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import windowed_data
from moe_apps.pipelines.trajectory.readers import read_tracks
from moe_apps.pipelines.trajectory.tracks import concatenate, vehicles
from moe_apps.pipelines.trajectory.windows import WindowCutter, Windows, site_of

SCENARIOS = ("USA_Lanker-1_1_T-1", "USA_Peach-4_8_T-1", "USA_US101-3_3_T-1")
RESULTS = Path(__file__).parents[1] / "results" / "trajectory_real_tracks.csv"
FOLDS = 5
SECONDS = (1, 2, 3)
STRIDE = 0.5
DATA = {"rate": 10, "history": 0.5, "horizon": 3, "velocity_seconds": 0.5}
# City streets and a jam: denser, and with more braking, than the simulator's default.
TRAFFIC = {"lowest_density": 15, "highest_density": 50, "slow_down_every": 15}
SETTINGS: dict[str, Any] = {
    "data": {**DATA, "simulator": TRAFFIC},
    "train": {"epochs": 10, "steps_per_epoch": 120},
}
FINE_TUNING = {"epochs": 12, "steps_per_epoch": 20, "batch_size": 32, "learning_rate": 3e-4}
FROM_NOTHING = FINE_TUNING | {"learning_rate": 2e-3}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path, help="folder with the scenarios")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--output", type=Path, default=RESULTS)
    given = arguments.parse_args()
    tracks = concatenate([read_tracks(given.data / f"{name}.xml") for name in SCENARIOS])
    study = Study(tracks)
    order = ("seed", "system", "site", "seconds")
    table = put(study.baselines(), given.output, order)
    for seed in given.seeds:
        table = put(study.networks(seed), given.output, order)
    print(table[table["site"] == "all"].to_string())


class Study:
    """The real windows, and the errors of systems on them."""

    def __init__(self, tracks: Any) -> None:
        self.config = TrajectoryConfig.model_validate(SETTINGS)
        self.cutter = WindowCutter(tracks, self.config.data)
        self.vehicle = vehicles(tracks.table)
        self.site = tracks.table["recording"].map(site_of).to_numpy()
        every = self.cutter.rows(future=False)
        self.moments = self.cutter.strided(every, STRIDE)
        self.windows = self.cutter.cut(self.moments, future=False)
        self.whole = self.cutter.rows()

    def baselines(self) -> list[dict[str, Any]]:
        rows = []
        for system, predict in (
            ("constant velocity", constant_velocity),
            ("constant acceleration", constant_acceleration),
        ):
            forecast = predict(self.windows, self.config.data).forecast
            assert forecast is not None
            rows += self.errors(forecast, system, seed=WITHOUT_SEED)
        return rows

    def networks(self, seed: int) -> list[dict[str, Any]]:
        """Errors of the three ways to train, each vehicle being predicted when held out."""
        config = self.config.model_copy(update={"seed": seed})
        simulated = windowed_data(config)
        start = Trainer(config, final_rmse)
        weights = start(simulated.train, simulated.validation).get_weights()
        systems = ("zero-shot", "fine-tuned", "from real tracks alone")
        forecast = {name: np.zeros((len(self.moments), 30, 2)) for name in systems}
        forecast["zero-shot"] = predicted(start, self.windows)
        fine_tuned = Trainer(self.tuning(FINE_TUNING, seed), final_rmse)
        from_nothing = Trainer(self.tuning(FROM_NOTHING, seed), final_rmse)
        fold_of = np.random.default_rng(seed).permutation(self.vehicle.max() + 1) % FOLDS
        for fold in range(FOLDS):
            held_out = np.flatnonzero(fold_of[self.vehicle[self.moments]] == fold)
            windows = self.windows.take(held_out)
            train, validation = self.parts(fold_of, fold, seed)
            fine_tuned(train, validation, weights)
            forecast["fine-tuned"][held_out] = predicted(fine_tuned, windows)
            from_nothing(train, validation)
            forecast["from real tracks alone"][held_out] = predicted(from_nothing, windows)
        return [row for name in systems for row in self.errors(forecast[name], name, seed)]

    def tuning(self, settings: dict[str, Any], seed: int) -> TrajectoryConfig:
        return TrajectoryConfig.model_validate({**SETTINGS, "train": settings, "seed": seed})

    def parts(
        self, fold_of: npt.NDArray[np.int64], fold: int, seed: int
    ) -> tuple[Windows, Windows]:
        """Windows for training and for the choice of the epoch: of other vehicles than the fold's.

        A fifth of the vehicles that have whole windows is for the choice.
        """
        others = np.unique(self.vehicle[self.whole])
        others = others[fold_of[others] != fold]
        order = np.random.default_rng([seed, fold]).permutation(others)
        chosen = np.isin(self.vehicle[self.whole], order[: max(len(order) // 5, 1)])
        training = np.isin(self.vehicle[self.whole], order) & ~chosen
        assert not set(self.vehicle[self.whole][training]) & set(np.flatnonzero(fold_of == fold))
        return self.cutter.cut(self.whole[training]), self.cutter.cut(self.whole[chosen])

    def errors(
        self, forecast: npt.NDArray[np.floating], system: str, seed: int
    ) -> list[dict[str, Any]]:
        """RMSE in metres by site and second, over the moments whose truth reaches so far.

        `better_for` is the number of vehicles whose error is less than constant velocity's.
        """
        rows = []
        plain = constant_velocity(self.windows, self.config.data).forecast
        assert plain is not None
        position, last = self.cutter.position, self.cutter.last[self.cutter.piece[self.moments]]
        for seconds in SECONDS:
            ahead = self.moments + round(seconds * self.config.data.rate)
            there = ahead <= last
            truth = position[np.minimum(ahead, last)] - position[self.moments]
            step = round(seconds * self.config.data.rate) - 1
            square, plain_square = (
                ((way[:, step] - truth) ** 2).sum(axis=-1) for way in (forecast, plain)
            )
            gain = pd.Series(plain_square - square)
            for site in ("all", *SCENARIOS):
                chosen = there & ((self.site[self.moments] == site) | (site == "all"))
                if chosen.any():
                    rows.append(
                        {
                            "system": system,
                            "seed": seed,
                            "site": site,
                            "seconds": seconds,
                            "rmse": round(float(np.sqrt(square[chosen].mean())), 3),
                            "moments": int(chosen.sum()),
                            "vehicles": len(np.unique(self.vehicle[self.moments[chosen]])),
                            "better_for": int(
                                (
                                    gain[chosen].groupby(self.vehicle[self.moments[chosen]]).sum()
                                    > 0
                                ).sum()
                            ),
                        }
                    )
        return rows


def final_rmse(answer: Answer, windows: Windows) -> float:
    """Root mean squared distance at the last step, metres."""
    assert answer.forecast is not None
    error = answer.forecast[:, -1] - windows.future[:, -1]
    return float(np.sqrt(np.square(error).sum(axis=-1).mean()))


def predicted(trainer: Trainer, windows: Windows) -> npt.NDArray[np.floating]:
    """Way `[n, horizon, 2]` by what was trained last."""
    forecast = trainer.answer(windows).forecast
    assert forecast is not None
    return forecast


if __name__ == "__main__":
    main()
