"""Every system and baseline at four horizons, all test windows, settings chosen on validation.

    python benchmarks/forecasting/horizons.py ETTh1.csv --protocol ett
    python benchmarks/forecasting/horizons.py ETTh1.csv --protocol ett --seeds 0 1 2 \\
        --systems linear_moe
    python benchmarks/forecasting/horizons.py exchange_rate.csv --no-calendar
    python benchmarks/forecasting/horizons.py sample --horizons 24 96 192

A system is trained once for each of its candidates (a look-back and settings, `CANDIDATES`); the
one with the least error on the validation windows is kept, and it alone meets the test windows.
Time-MoE and MoHETS roll forward, so that one training, at the first horizon, serves all horizons;
a linear mixture is trained for each. `average` is the mean of MoHETS and the linear mixture. Rows
that are in the file already are replaced.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from circumstances import circumstances

from moe_apps.pipelines.config import load_config
from moe_apps.pipelines.forecasting.baselines import baselines
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.data import season, windowed_data
from moe_apps.pipelines.forecasting.forecaster import Answer, answer_of
from moe_apps.pipelines.forecasting.metrics import score
from moe_apps.pipelines.forecasting.pipeline import train_model
from moe_apps.pipelines.forecasting.windows import WindowedPanel
from moe_apps.pipelines.run_folder import RunFolder

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "forecasting_horizons.csv"
HORIZONS = (96, 192, 336, 720)
BASELINES = ("repeat_last", "seasonal_naive", "ridge")
ROLLED = ("time_moe", "mohets")
KEYS = ["data", "horizon", "system", "seed"]
RIDGE_LOOK_BACKS = (336, 512)

CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "linear_moe": tuple(
        {
            "data": {"look_back": look_back},
            "train": {"learning_rate": rate, "batch_size": 256, "epochs": 3, "steps_per_epoch": 60},
        }
        for look_back in (336, 512, 672)
        for rate in (3e-4, 3e-3)
    ),
    "mohets": tuple(
        {
            "data": {"look_back": look_back},
            "model": {"preset": "tiny", "scaled_init": True, **options},
            "train": {"epochs": 8, "steps_per_epoch": 150, "weight_decay": 1e-4, "ema": 0.99},
        }
        for look_back, options in (
            (512, {"weight_behind": 1.0}),
            (512, {"weight_behind": 0.05}),
            (336, {"weight_behind": 0.05}),
        )
    ),
    "time_moe": (
        {
            "data": {"look_back": 192},
            "model": {"preset": "small", "num_layers": 2, "intermediate_dim": 64},
            "train": {"epochs": 12, "steps_per_epoch": 200, "batch_size": 16, "ema": 0.995},
        },
    ),
}
"""What is tried of each system, on validation windows alone."""


def settings(
    arguments: argparse.Namespace, horizon: int, own: Mapping[str, Any] | None = None
) -> ForecastingConfig:
    """The settings of one training or baseline."""
    own = own or {}
    data = {
        "path": None if arguments.data == "sample" else arguments.data,
        "protocol": arguments.protocol,
        "calendar": arguments.calendar,
        "horizon": horizon,
        **own.get("data", {}),
    }
    rest = {name: value for name, value in own.items() if name != "data"}
    evaluation = {"validation_windows": 1000, "batch_size": 256}
    return load_config(
        ForecastingConfig,
        base={"domain": "forecasting", "data": data, "evaluation": evaluation, **rest},
    )


def validation_error(answer: Answer, data: WindowedPanel, windows: int = 2000) -> float:
    """Scaled squared error on evenly spread validation windows."""
    every = max(len(data.validation) // windows, 1)
    total, count = 0.0, 0
    for batch in data.validation.of(np.arange(0, len(data.validation), every)):
        error = np.where(batch.target_observed, answer(batch) - batch.target, 0.0)
        total += float(np.square(error, dtype=np.float64).sum())
        count += int(batch.target_observed.sum())
    return total / count


class Study:
    """Trains, chooses and judges; rows are written as they come."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.name = Path(arguments.data).stem
        self.trained: dict[Any, tuple[Any, ForecastingConfig, float]] = {}
        self.kept: dict[tuple[str, int, int], tuple[Answer, WindowedPanel, float]] = {}

    def data(self, config: ForecastingConfig) -> WindowedPanel:
        return windowed_data(config)

    def put(self, horizon: int, system: str, seed: int, **facts: Any) -> None:
        """Replace the row of the same data, horizon, system and seed in the file."""
        row = {"data": self.name, "horizon": horizon, "system": system, "seed": seed, **facts}
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        table = pd.DataFrame([{**row, **circumstances()}])
        if self.arguments.output.exists():
            before = pd.read_csv(self.arguments.output)
            same = before.set_index(KEYS).index.isin(table.set_index(KEYS).index)
            table = pd.concat([before[~same], table])
        table = table.sort_values(KEYS, ignore_index=True)
        self.arguments.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.arguments.output, index=False)

    def judge(
        self,
        horizon: int,
        system: str,
        seed: int,
        answer: Answer,
        data: WindowedPanel,
        **facts: Any,
    ) -> None:
        started = time.perf_counter()
        config = settings(self.arguments, horizon)
        found = score(answer, data.test, data, season(config, data.panel))
        self.put(
            horizon,
            system,
            seed,
            mse=found["mse"],
            mae=found["mae"],
            mase=found["mase"],
            windows=len(data.test),
            test_minutes=round((time.perf_counter() - started) / 60, 2),
            **facts,
        )

    def baselines(self, horizon: int) -> None:
        for look_back in RIDGE_LOOK_BACKS:
            config = settings(self.arguments, horizon, {"data": {"look_back": look_back}})
            data = self.data(config)
            for name, baseline in baselines(horizon, season(config, data.panel)).items():
                if name != "ridge" and look_back != RIDGE_LOOK_BACKS[-1]:
                    continue
                fitted = baseline.fit(data.train, data.validation)
                shown = f"ridge {look_back}" if name == "ridge" else name
                error = validation_error(fitted.answer, data)
                self.judge(
                    horizon, shown, 0, fitted.answer, data, look_back=look_back, val_mse=error
                )

    def system(self, horizon: int, name: str, seed: int, dense: bool) -> None:
        """The best candidate on validation windows of this horizon, then its test windows."""
        started = time.perf_counter()
        best: tuple[float, Any] | None = None
        for number, candidate in enumerate(CANDIDATES[name]):
            first = self.arguments.horizons[0] if name in ROLLED else horizon
            own = {**candidate, "model": {"name": name, **candidate.get("model", {})}}
            own = {**own, "seed": seed}
            key = (name, number, first, seed, dense)
            if key not in self.trained:
                config = settings(self.arguments, first, own)
                model = self.fit(config, self.data(config), dense)
                self.trained[key] = model, config, (time.perf_counter() - started) / 60
            model, config, _ = self.trained[key]
            data = self.data(settings(self.arguments, horizon, own))
            answer = answer_of(model, horizon, config.evaluation.batch_size)
            error = validation_error(answer, data, 1000)
            print(f"{name} {number} horizon {horizon} seed {seed}: validation {error:.4f}")
            if best is None or error < best[0]:
                best = error, (answer, data, config, model)
        assert best is not None
        answer, data, config, model = best[1]
        shown = f"{name}, dense twin" if dense else name
        self.kept[shown, horizon, seed] = answer, data, best[0]
        chosen = {
            "learning_rate": config.train.learning_rate,
            "weight_behind": config.model.weight_behind,
        }
        self.judge(
            horizon,
            shown,
            seed,
            answer,
            data,
            look_back=config.data.look_back,
            val_mse=best[0],
            settings=str(chosen),
            parameters=model.count_params(),
            minutes=round((time.perf_counter() - started) / 60, 2),
        )

    def fit(self, config: ForecastingConfig, data: WindowedPanel, dense: bool) -> Any:
        kind = "dense_twin" if dense else "model"
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(Path(folder))
            return train_model(config, data, run, kind)[0]

    def average(self, horizon: int, seed: int) -> None:
        """Mean of MoHETS and the linear mixture, where both were trained on the same panel."""
        names = ("mohets", "linear_moe")
        if not all((name, horizon, seed) in self.kept for name in names):
            return
        parts = [self.kept[name, horizon, seed] for name in names]
        longest = max(data.train.look_back for _, data, _ in parts)
        config = settings(self.arguments, horizon, {"data": {"look_back": longest}})
        data = self.data(config)

        def answer(batch: Any) -> Any:
            forecasts = []
            for part, own, _ in parts:
                cut = longest - own.train.look_back
                shorter = batch._replace(
                    history=batch.history[:, cut:],
                    history_observed=batch.history_observed[:, cut:],
                    known=batch.known[:, cut:],
                )
                forecasts.append(part(shorter))
            return np.mean(forecasts, axis=0)

        error = validation_error(answer, data, 1000)
        self.judge(horizon, "average", seed, answer, data, look_back=longest, val_mse=error)


def summary(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """MSE and MAE by system and horizon, the mean of the seeds, and over all horizons."""
    own = table[table["data"] == name]
    means = own.groupby(["system", "horizon"])[["mse", "mae"]].mean().unstack("horizon")
    for error in ("mse", "mae"):
        means[error, "mean"] = means[error].mean(axis=1, skipna=False)
    return means.sort_index(axis=1).sort_values(("mse", "mean")).round(3)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CSV or Parquet file, or sample")
    parser.add_argument("--protocol", default="fraction", choices=("fraction", "ett"))
    parser.add_argument("--calendar", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--horizons", nargs="+", type=int, default=list(HORIZONS))
    parser.add_argument("--systems", nargs="*", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--twins", action="store_true", help="dense twins of all systems too")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(given)
    study = Study(arguments)
    for horizon in arguments.horizons:
        study.baselines(horizon)
        for seed in arguments.seeds:
            for name in arguments.systems:
                for dense in (False, True) if arguments.twins else (False,):
                    study.system(horizon, name, seed, dense)
            study.average(horizon, seed)
    print(summary(pd.read_csv(arguments.output), study.name).to_string())


if __name__ == "__main__":
    main()
