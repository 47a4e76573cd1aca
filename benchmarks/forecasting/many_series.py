"""Thousands of series of unequal length in one model: memory and time, from file to forecasts.

    python benchmarks/forecasting/many_series.py                   # 10,000 series
    python benchmarks/forecasting/many_series.py --series 1000 --system time_moe

Generated: daily series of 120 to 400 rows with a weekly season, a trend, noise and gaps; one in
fifty has only 20 rows. The last 14 rows of each are held back. Training and prediction are each a
process of their own, through the command line.

Beside them NHITS of neuralforecast trains as many steps of as many windows on the same rows, where
it is installed; `make bench-forecasting` gives it an environment of its own and runs both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from circumstances import circumstances, write

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "forecasting_many_series.csv"
PEER = Path(__file__).with_name("nhits_peer.py")
LIMIT = 4.0
"""Gigabytes that must do."""
LOOK_BACK, HORIZON, SEASON = 56, 14, 7

SETTINGS = (
    *(f"data.look_back={LOOK_BACK}", f"data.horizon={HORIZON}", "data.stride=3"),
    *("evaluation.stride=14", "evaluation.dense_twin=false", "evaluation.batch_size=512"),
    *("train.batch_size=256", "train.epochs=6", "train.steps_per_epoch=60"),
)


def generate(series: int, file: Path, truth: Path, seed: int = 0) -> int:
    """Write the series, and what follows them, a thousand at a time; return the rows of the first.

    Args:
        series: how many.
        file: gets all but the last rows.
        truth: gets the last rows, without gaps.
        seed: of the generator.
    """
    random = np.random.default_rng(seed)
    writers: dict[Path, pq.ParquetWriter] = {}
    rows = 0
    for first in range(0, series, 1000):
        parts = []
        for number in range(first, min(first + 1000, series)):
            length = 20 if number % 50 == 7 else int(random.integers(120, 401))
            days = np.arange(length)
            size = np.exp(random.normal(2, 1))
            week = np.tile(random.normal(size=7), length // 7 + 1)[:length]
            drift = np.cumsum(random.normal(scale=0.05, size=length))
            values = size * (5 + week + drift + 0.5 * random.normal(size=length))
            values[: length - HORIZON][random.random(length - HORIZON) < 0.01] = np.nan
            times = pd.Timestamp("2024-01-01") + pd.to_timedelta(400 - length + days, unit="D")
            parts.append(pd.DataFrame({"id": f"s{number:05d}", "day": times, "value": values}))
        pieces = {
            file: pd.concat([part[:-HORIZON] for part in parts]),
            truth: pd.concat([part[-HORIZON:] for part in parts]),
        }
        for path, piece in pieces.items():
            table = pa.Table.from_pandas(piece, preserve_index=False)
            if path not in writers:
                writers[path] = pq.ParquetWriter(path, table.schema)
            writers[path].write_table(table)
        rows += len(pieces[file])
    for writer in writers.values():
        writer.close()
    return rows


def run(*command: str, output: int | None = None) -> tuple[float, float, str]:
    """Seconds of a command, the most gigabytes that it held, and what it printed if asked."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=output, text=True)
    printed = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, used.ru_maxrss / 2**20, printed


def errors(forecasts: pd.DataFrame, file: Path, truth: Path) -> float:
    """Mean absolute error over the deviation of each series."""
    wanted = pd.read_parquet(truth).rename(columns={"id": "series", "day": "time"})
    both = wanted.merge(forecasts, on=["series", "time"])
    if len(both) != len(wanted) or not np.isfinite(both["forecast"]).all():
        raise SystemExit(f"{len(wanted)} forecasts are wanted, {len(both)} are there")
    deviation = pd.read_parquet(file).groupby("id")["value"].std()
    error = (both["forecast"] - both["value"]).abs() / both["series"].map(deviation)
    return float(error.mean())


def seasonal_naive(file: Path) -> pd.DataFrame:
    """The last week over and over."""
    table = pd.read_parquet(file)
    table["value"] = table.groupby("id")["value"].ffill()
    parts = []
    for name, part in table.groupby("id"):
        last = part["value"].bfill().to_numpy()[-SEASON:]
        times = part["day"].iloc[-1] + pd.to_timedelta(np.arange(1, HORIZON + 1), unit="D")
        repeated = last[np.arange(HORIZON) % len(last)]
        parts.append(pd.DataFrame({"series": name, "time": times, "forecast": repeated}))
    return pd.concat(parts)


def ours(system: str, file: Path, folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """What training and prediction of a system take, and its forecasts."""
    settings = [f"model.name={system}", *SETTINGS]
    chosen = [part for one in settings for part in ("--set", one)]
    command = (sys.executable, "-m", "moe_apps")
    model, answers = str(folder / "run"), folder / "next.parquet"
    train = ("train", "forecasting", "--data", str(file), "--output", model, *chosen)
    trained, training, _ = run(*command, *train)
    predict = ("predict", model, "--input", str(file), "--output", str(answers))
    predicted, prediction, _ = run(*command, *predict)
    facts = {
        "train_seconds": trained,
        "predict_seconds": predicted,
        "gigabytes": max(training, prediction),
    }
    return facts, pd.read_parquet(answers)


def peer(python: str, file: Path, folder: Path) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """The same of NHITS; None where neuralforecast is not installed."""
    find = "importlib.util.find_spec('neuralforecast')"
    look = f"import importlib.util, sys; sys.exit({find} is None)"
    if subprocess.run([python, "-c", look], check=False).returncode:
        print(
            f"NHITS is skipped: {python} has no neuralforecast. `make bench-forecasting` "
            "gives it an environment, or --peer-python names one that has it."
        )
        return None
    answers = folder / "peer.parquet"
    sizes = ("--horizon", str(HORIZON), "--look-back", str(LOOK_BACK))
    started = (python, str(PEER), str(file), str(answers), *sizes)
    seconds, gigabytes, printed = run(*started, output=subprocess.PIPE)
    facts = json.loads(printed.splitlines()[-1])
    # Imports belong to what a command takes, as they do to ours.
    facts["train_seconds"] = seconds - facts["predict_seconds"]
    return {**facts, "gigabytes": gigabytes}, pd.read_parquet(answers)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--system", default="linear_moe")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(given)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, truth = folder / "many.parquet", folder / "truth.parquet"
        count = generate(arguments.series, file, truth)
        found = {
            arguments.system: ours(arguments.system, file, folder),
            "neuralforecast NHITS": peer(arguments.peer_python, file, folder),
            "seasonal naive": ({}, seasonal_naive(file)),
        }
        for system, one in found.items():
            if one is None:
                continue
            facts, forecasts = one
            per_thousand = {
                f"{part}_seconds_per_thousand": round(
                    1000 * facts[f"{part}_seconds"] / arguments.series, 2
                )
                if facts
                else ""
                for part in ("train", "predict")
            }
            row = {
                "system": system,
                "series": arguments.series,
                "rows": count,
                **per_thousand,
                "gigabytes": round(facts["gigabytes"], 2) if facts else "",
                "scaled_mae": round(errors(forecasts, file, truth), 4),
                **circumstances(),
            }
            print(row, flush=True)
            rows.append(row)
    write(rows, arguments.output)
    most = rows[0]["gigabytes"]
    if most > LIMIT:
        raise SystemExit(f"{most:.2f} GB are more than the {LIMIT:g} GB that must do")


if __name__ == "__main__":
    main()
