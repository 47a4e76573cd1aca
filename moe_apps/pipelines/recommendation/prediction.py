"""What a trained run answers for new rows, from the command line and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.errors import ConfigError
from moe_apps.pipelines.answer_table import check_writable, write_table
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.files import find_files, open_file
from moe_apps.pipelines.recommendation.histories import join_histories
from moe_apps.pipelines.recommendation.kept_files import (
    EXAMPLE_FILE,
    USERS_FILE,
    load_preprocessing,
)
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.readers import open_source
from moe_apps.pipelines.recommendation.systems import answer_function, effect_function
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Answer for the rows of a file or folder, or make lists of items for its users.

    With all columns of the schema but labels, each row gets its ids and a column for each task
    (and `<task>_effect_<treatment>` of uplift models). A file without the item column, of a
    schema that has one, is a list of users: each gets the k items with the highest answer of the
    first task, of all items that training data had and the user had no row with. `output` is CSV,
    or Parquet by its suffix (.parquet, .pq).

    Returns:
        `rows`, `output` and `notes`.
    """
    check_writable(output)
    config = run.read_config(RecommendationConfig)
    preprocessing = load_preprocessing(run)
    if _is_list_of_users(input, preprocessing):
        from moe_apps.pipelines.recommendation.top_items import top_items

        table, notes = top_items(run, config, preprocessing, input)
    else:
        table, notes = _answered(run, config, preprocessing, input)
    write_table(table, output)
    return {"rows": len(table), "output": str(output), "notes": notes}


def request(run: RunFolder, input: Path) -> dict[str, Any]:
    """What a served recommender is asked for the rows of a file; see `Domain.request`."""
    from moe_apps.pipelines.recommendation.served_inputs import raw_of

    preprocessing = load_preprocessing(run)
    parts = [raw_of(preprocessing, chunk) for chunk in _chunks(run, preprocessing, input)[0]]
    if not parts:
        raise ConfigError(f"{input}: has no rows to answer for")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunks(
    run: RunFolder, preprocessing: Preprocessing, path: Path
) -> tuple[Iterator[Table], Any]:
    """Rows of a file with the histories of their users, and where they come from."""
    schema = preprocessing.schema
    source = open_source(path, schema, labels=False)
    if not any(one.history_of for one in schema.sequences):
        return source.chunks(), source
    latest = pd.read_parquet(run.path / USERS_FILE)
    return (join_histories(chunk, schema, latest) for chunk in source.chunks()), source


def _is_list_of_users(path: Path, preprocessing: Preprocessing) -> bool:
    schema = preprocessing.schema
    if schema.user is None or schema.item is None:
        return False
    names = open_file(find_files(path)[0], schema.csv, path if path.is_dir() else None).names
    return schema.user in names and schema.item not in names


def _answered(
    run: RunFolder, config: RecommendationConfig, preprocessing: Preprocessing, path: Path
) -> tuple[pd.DataFrame, list[str]]:
    model = load_model(run.model_file)
    answer = answer_function(model, config.evaluation.batch_size)
    effects = (
        effect_function(model, config.evaluation.batch_size) if preprocessing.treatments else None
    )
    chunks, source = _chunks(run, preprocessing, path)
    frames = []
    for chunk in chunks:
        inputs = preprocessing.inputs(chunk)
        columns = _ids(chunk, preprocessing)
        for task, values in answer(inputs).items():
            columns[task] = preprocessing.in_units(task, values.astype(np.float64))
        for task, values in (effects(inputs) if effects else {}).items():
            scale = preprocessing.targets.get(task, (0.0, 1.0))[1]
            for number, name in enumerate(preprocessing.treatments[1:]):
                columns[f"{task}_effect_{name}"] = values[:, number] * scale
        frames.append(pd.DataFrame(columns))
    if not frames:
        raise ConfigError(f"{path}: has no rows to answer for")
    return pd.concat(frames, ignore_index=True), list(source.notes)


def _ids(table: Table, preprocessing: Preprocessing) -> dict[str, Any]:
    schema = preprocessing.schema
    return {
        column: ids.raw()
        for column, ids in ((schema.user, table.user), (schema.item, table.item))
        if column is not None and ids is not None
    }


def served(run: RunFolder) -> Served:
    """The trained model with the signatures it is exported with; see `Domain.served`."""
    from moe_apps.pipelines.recommendation.served import served_ranker

    config = run.read_config(RecommendationConfig)
    metrics = run.read_metrics()
    facts = metrics["data"]
    card = {
        "system": config.model.name,
        "trained_on": {name: facts[name] for name in ("source", "digest", "rows", "split")},
        "test": {
            name: value for name, value in metrics["test"].items() if isinstance(value, float)
        },
        "licence": "model code: Apache-2.0; the weights follow the terms of the training data",
    }
    return served_ranker(
        load_model(run.model_file),
        load_preprocessing(run),
        {name: np.array(value) for name, value in read_json(run.path / EXAMPLE_FILE).items()},
        card,
    )
