"""Thousands of series of unequal length in one model: memory and time, from file to forecasts.

    python benchmarks/forecasting/many_series.py                   # 10,000 series
    python benchmarks/forecasting/many_series.py --series 1000 --system time_moe

Generated: daily series of 120 to 400 rows with a weekly season, a trend, noise and gaps; one in
fifty has only 20 rows. Training and prediction are each a process of their own, through the
command line.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from circumstances import circumstances, write

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "forecasting_many_series.csv"
LIMIT = 4.0
"""Gigabytes that must do."""

SETTINGS = (
    *("data.look_back=56", "data.horizon=14", "data.stride=3", "evaluation.stride=14"),
    *("evaluation.dense_twin=false", "evaluation.batch_size=512", "train.batch_size=256"),
)


def generate(series: int, file: Path, seed: int = 0) -> int:
    """Write the series, a thousand at a time; return the number of rows."""
    random = np.random.default_rng(seed)
    writer, rows = None, 0
    for first in range(0, series, 1000):
        parts = []
        for number in range(first, min(first + 1000, series)):
            length = 20 if number % 50 == 7 else int(random.integers(120, 401))
            days = np.arange(length)
            size = np.exp(random.normal(2, 1))
            week = np.tile(random.normal(size=7), length // 7 + 1)[:length]
            drift = np.cumsum(random.normal(scale=0.05, size=length))
            values = size * (5 + week + drift + 0.5 * random.normal(size=length))
            values[random.random(length) < 0.01] = np.nan
            times = pd.Timestamp("2024-01-01") + pd.to_timedelta(400 - length + days, unit="D")
            parts.append(pd.DataFrame({"id": f"s{number:05d}", "day": times, "value": values}))
        table = pa.Table.from_pandas(pd.concat(parts), preserve_index=False)
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
        rows += table.num_rows
    assert writer is not None
    writer.close()
    return rows


def run(*arguments: str) -> tuple[float, float]:
    """Seconds of a command, and the most gigabytes that any command has held so far."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "moe_apps", *arguments], check=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--system", default="linear_moe")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = generate(arguments.series, folder / "many.parquet")
        settings = [f"model.name={arguments.system}", *SETTINGS]
        chosen = [part for one in settings for part in ("--set", one)]
        data, model = str(folder / "many.parquet"), str(folder / "run")
        trained, after = run("train", "forecasting", "--data", data, "--output", model, *chosen)
        answers = str(folder / "next.parquet")
        predicted, peak = run("predict", model, "--input", data, "--output", answers)
        forecasts = pd.read_parquet(answers)
        assert forecasts["series"].nunique() == arguments.series
        assert np.isfinite(forecasts["forecast"]).all()
    row = {
        "system": arguments.system,
        "series": arguments.series,
        "rows": rows,
        "train_seconds": round(trained, 1),
        "train_gigabytes": round(after, 2),
        "predict_seconds_per_thousand": round(1000 * predicted / arguments.series, 2),
        "peak_gigabytes": round(peak, 2),
        **circumstances(),
    }
    print(row)
    write([row], arguments.output)
    if peak > LIMIT:
        raise SystemExit(f"{peak:.2f} GB are more than the {LIMIT:g} GB that must do")


if __name__ == "__main__":
    main()
