"""NHITS of neuralforecast on a long table of series: trains, forecasts what follows, says how long.

    python nhits_peer.py many.parquet next.parquet --horizon 14 --look-back 56

many_series.py runs it in a process of its own; requirements.txt beside this file has what it needs.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="Parquet file with the columns id, day, value")
    parser.add_argument("output", type=Path)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--look-back", type=int, required=True)
    parser.add_argument("--steps", type=int, default=360)
    parser.add_argument("--windows", type=int, default=256, help="windows of a step")
    arguments = parser.parse_args(given)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    from neuralforecast import NeuralForecast
    from neuralforecast.models import NHITS

    started = time.perf_counter()
    table = pd.read_parquet(arguments.data)
    table = table.rename(columns={"id": "unique_id", "day": "ds", "value": "y"})
    # It takes no missing values; filled as our reader does.
    table["y"] = table.groupby("unique_id")["y"].transform(lambda y: y.ffill().bfill())
    model = NHITS(
        h=arguments.horizon,
        input_size=arguments.look_back,
        max_steps=arguments.steps,
        windows_batch_size=arguments.windows,
        scaler_type="standard",
        start_padding_enabled=True,  # some series are shorter than a window
        random_seed=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    forecaster = NeuralForecast([model], freq="D")
    forecaster.fit(table)
    trained = time.perf_counter()
    forecasts = forecaster.predict()
    if "unique_id" not in forecasts:
        forecasts = forecasts.reset_index()
    names = {"unique_id": "series", "ds": "time", "NHITS": "forecast"}
    forecasts.rename(columns=names)[list(names.values())].to_parquet(arguments.output)
    done = time.perf_counter()
    print(json.dumps({"train_seconds": trained - started, "predict_seconds": done - trained}))


if __name__ == "__main__":
    main()
