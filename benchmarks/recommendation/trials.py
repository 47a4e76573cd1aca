"""One system trained on prepared data, and a row of what came out; rows kept in a CSV."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.pipelines.config import load_config
from moe_apps.pipelines.recommendation.baselines import fit_baselines
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.fitting import answers_function, fit_ranker
from moe_apps.pipelines.recommendation.judgement import judge
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.systems import build_model
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.training import set_seed

CONFIGS = Path(__file__).parents[2] / "configs" / "recommendation"
RESULTS = Path(__file__).parents[1] / "results"


def settings(
    file: str, name: str, seed: int, overrides: Sequence[str] = ()
) -> RecommendationConfig:
    """The settings of a file in `configs/recommendation`, for another system and seed."""
    return load_config(
        RecommendationConfig, CONFIGS / file, [f"model.name={name}", f"seed={seed}", *overrides]
    )


def trial(config: RecommendationConfig, data: Prepared) -> tuple[Any, dict[str, Any]]:
    """Train a model; return it, and a row with its size, time, epochs and validation score."""
    data = Prepared(**{**vars(data), "settings": config})
    set_seed(config.seed)
    model = build_model(config, data.preprocessing, data.train)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        arrays = data.training_arrays(Path(folder, "arrays"))
        result = fit_ranker(model, config, data, arrays, Path(folder))
    row = {
        "system": config.model.name,
        "seed": config.seed,
        "parameters": model.count_params(),
        "seconds": time.perf_counter() - began,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "validation_score": result.best,
    }
    return model, row


def figures(data: Prepared, answers: Mapping[str, Any], table: Table | None = None) -> dict:
    """Each task's AUC, GAUC and log loss on the test rows, or on some of them."""
    table = data.test if table is None else table
    tasks = judge(data.schema, table, answers)["tasks"]
    return {
        f"{task}_{name}": values.get(name)
        for task, values in tasks.items()
        for name in ("auc", "gauc", "log_loss", "rmse")
        if values.get(name) is not None
    }


def judged(model: Any, data: Prepared) -> dict[str, Any]:
    """`figures` of a model on the test rows."""
    return figures(data, answers_function(model, data, 4096)(data.test))


def baseline_rows(data: Prepared, boosting: bool = True) -> list[dict[str, Any]]:
    """A row for each classical baseline."""
    fitted = fit_baselines(data.train, data.validation, data.schema, seed=0, boosting=boosting)
    return [
        {"system": name, "seed": 0, **figures(data, answers)}
        for name, answers in fitted.predict(data.test).items()
    ]


def keep(rows: Iterable[Mapping[str, Any]], file: Path, key: Sequence[str]) -> pd.DataFrame:
    """Add rows to a CSV, in place of those with the same key; return all."""
    new = pd.DataFrame(list(rows))
    if file.is_file():
        old = pd.read_csv(file, float_precision="round_trip")
        same = pd.MultiIndex.from_frame(old[list(key)].astype(str)).isin(
            pd.MultiIndex.from_frame(new[list(key)].astype(str))
        )
        new = pd.concat([old[~same], new], ignore_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    new.to_csv(file, index=False, float_format="%.6g")
    return new


def show(rows: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> None:
    """Print mean, deviation and number of seeds."""
    table = rows.groupby(list(by), sort=False)[list(columns)].agg(["mean", "std", "count"])
    print(table.round(4).replace({np.nan: "-"}).to_string())
