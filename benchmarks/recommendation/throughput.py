"""Rows a second of a model and of a plain Keras MLP, and memory on ten million rows.

    python benchmarks/recommendation/throughput.py rates       # training and serving
    python benchmarks/recommendation/throughput.py memory      # one epoch on a folder of Parquet
    python benchmarks/recommendation/throughput.py categories  # a column of ten million values

All on data of the generator (10 fields, 2 of them sequences of up to 10, 3 tasks). The MLP reads
the same fields by the same vectors: `Embedding` for each category, means of sequences, two dense
layers. Results go to benchmarks/results/recommendation_throughput_*.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Models = Mapping[str, Any]
Calls = Mapping[str, Callable[[], Any]]

RESULTS = Path(__file__).parents[1] / "results"


def circumstances() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "tensorflow": tf.__version__,
        "date": date.today().isoformat(),
    }


def rates(args: argparse.Namespace) -> None:
    """Training and serving, the model and the MLP in turns so that both see the same machine."""
    from moe_apps.pipelines.optimisation import compile_model
    from moe_apps.pipelines.recommendation.batches import training_batches
    from moe_apps.pipelines.recommendation.config import RecommendationConfig
    from moe_apps.pipelines.recommendation.data import prepare
    from moe_apps.pipelines.recommendation.fitting import inputs_of
    from moe_apps.pipelines.recommendation.served_inputs import raw_of
    from moe_apps.pipelines.recommendation.systems import build_model, compile_ranker

    config = RecommendationConfig(data={"rows": args.rows}, model={"name": args.system})
    data = prepare(config)
    model = build_model(config, data.preprocessing)
    models = {args.system: model, "plain MLP": plain_mlp(model.fields, model.task_names)}
    compile_ranker(model, config, data.preprocessing, 1000)
    compile_model(
        models["plain MLP"],
        config.train,
        loss={task: masked_loss(task) for task in model.task_names},
        total_steps=1000,
    )
    inputs, targets = data.arrays(data.train)
    rows = []
    for size in args.batch_sizes:
        batches = training_batches(inputs_of(model, inputs), targets, size, seed=0)
        example = raw_of(data.preprocessing, data.test.take(np.arange(size) % len(data.test)))
        for what, calls in (
            ("training step", training_calls(models, batches)),
            ("answers from arrays", array_calls(models, next(iter(batches.from_epoch(0)))[0])),
            ("answers from raw values", raw_calls(models, data.preprocessing, example)),
        ):
            for name, seconds in timed(calls, args.seconds).items():
                rows.append(
                    {
                        "what": what,
                        "model": name,
                        "batch": size,
                        "rows_per_second": round(size / seconds),
                        "parameters": models[name].count_params(),
                        **circumstances(),
                    }
                )
                print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(args.output, index=False)


def training_calls(models: Models, batches: Any) -> Calls:
    """A whole step, its batch included."""

    def call_of(model: Any) -> Callable[[], Any]:
        model.make_train_function()
        step, stream = model.train_function, iter(batches.from_epoch(0))
        return lambda: float(step(stream)["loss"])

    return {name: call_of(model) for name, model in models.items()}


def array_calls(models: Models, inputs: Any) -> Calls:
    """Answers from the model's arrays, without any look-up of texts."""
    import tensorflow as tf

    def call_of(model: Any) -> Callable[[], Any]:
        answer = tf.function(lambda rows: model(rows, training=False), autograph=False)
        return lambda: first_array(answer(inputs))

    return {name: call_of(model) for name, model in models.items()}


def raw_calls(models: Models, preprocessing: Any, example: Mapping[str, Any]) -> Calls:
    """Answers from raw texts and numbers: what is exported, and the MLP behind Keras' layers."""
    import tensorflow as tf

    from moe_apps.pipelines.recommendation.served import served_ranker

    (name, model), (plain, mlp) = models.items()
    served = served_ranker(model, preprocessing, example, {})
    raw = {one: tf.constant(value) for one, value in served.example.items()}
    own, other = served.signatures["serving_default"], with_keras_lookups(mlp, preprocessing)
    return {
        name: lambda: first_array(own(**raw)),
        plain: lambda: first_array(other(raw)),
    }


def first_array(outputs: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(next(iter(outputs.values())))


def timed(calls: Calls, seconds: float) -> dict[str, float]:
    """Median seconds of each call, in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end:
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: float(np.median(each)) for name, each in times.items()}


def plain_mlp(fields: Any, tasks: Any, units: tuple[int, ...] = (128, 64)) -> Any:
    """What one writes without a library: embeddings, means of sequences, two dense layers."""
    import keras
    from keras import ops

    inputs = {
        name: keras.Input(shape, dtype=kind, name=name)
        for name, (shape, kind) in fields.inputs().items()
    }
    tables = {
        one.name: keras.layers.Embedding(one.size, one.dimension) for one in fields.categorical
    }
    parts = [
        tables[one.name](inputs["categorical"][:, place])
        for place, one in enumerate(fields.categorical)
    ]
    if fields.dense:
        parts.append(inputs["dense"])
    for one in fields.sequences:
        index = inputs[one.input]
        there = ops.cast(index > 0, "float32")[..., None]
        total = ops.sum(tables[one.of](index) * there, axis=1)
        parts.append(total / ops.maximum(ops.sum(there, axis=1), 1.0))
    x = keras.layers.Concatenate()(parts)
    for number, width in enumerate(units):
        x = keras.layers.Dense(width, activation="relu", name=f"hidden_{number}")(x)
    outputs = {task: keras.layers.Dense(1, name=task)(x)[:, 0] for task in tasks}
    return keras.Model(inputs, outputs)


def masked_loss(task: str) -> Any:
    from moe_apps.models.recommendation import TaskLoss

    return TaskLoss("mean_squared_error" if task == "minutes" else "binary_crossentropy")


def with_keras_lookups(mlp: Any, preprocessing: Any) -> Any:
    """The MLP behind Keras' own `StringLookup` and arithmetic, as one function of raw values."""
    import keras
    import tensorflow as tf

    schema = preprocessing.schema
    lookups = {}
    for one in schema.categorical:
        if one.encoding == "integer":
            continue
        kind = keras.layers.IntegerLookup if one.type == "int" else keras.layers.StringLookup
        mask: Any = -1 if one.type == "int" else ""
        lookups[one.name] = kind(
            vocabulary=list(preprocessing.vocabularies[one.name]), mask_token=mask
        )

    def index(one: Any, values: Any) -> Any:
        found = values + 2 if one.encoding == "integer" else lookups[one.name](values)
        return tf.cast(found, tf.int32)

    @tf.function(reduce_retracing=True)
    def answer(raw: Mapping[str, Any]) -> Any:
        columns = [index(one, raw[one.name]) for one in schema.categorical]
        inputs = {"categorical": tf.stack(columns, axis=1)}
        numbers = []
        for one in schema.dense:
            value = tf.cast(raw[one.name], tf.float32)
            if one.transform == "log1p":
                value = tf.sign(value) * tf.math.log1p(tf.abs(value))
            mean, deviation = preprocessing.scales[one.name]
            value = (value - mean) / deviation
            numbers.append(tf.where(tf.math.is_finite(value), value, 0.0))
        inputs["dense"] = tf.stack(numbers, axis=1)
        for one in schema.sequences:
            of = next(field for field in schema.categorical if field.name == one.of)
            inputs[f"sequence_{one.name}"] = index(of, raw[one.name])
        return mlp(inputs, training=False)

    return answer


def memory(args: argparse.Namespace) -> None:
    """One epoch on a generated log, in a process of its own."""
    from moe_apps.pipelines.recommendation.generator_settings import GeneratorSettings

    users, items = max(args.rows // 50, 10), max(args.rows // 500, 10)
    on_disk(GeneratorSettings(users=users, items=items), args, "generated log")


def categories(args: argparse.Namespace) -> None:
    """The same on a log whose users are all different: a category of as many values as rows."""
    from moe_apps.pipelines.recommendation.generator_settings import GeneratorSettings

    on_disk(GeneratorSettings(), args, "a category of as many values as rows", all_new=True)


def on_disk(settings: Any, args: argparse.Namespace, what: str, all_new: bool = False) -> None:
    from moe_apps.pipelines.recommendation.generator_settings import schema_of_log

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        log = args.log or folder / "log"
        if not log.exists():
            write(log, settings, args.rows, all_new)
        if not args.write_only:
            row = trained(folder, log, schema_of_log(settings), args)
            keep({"what": what, **row}, args)


def write(log: Path, settings: Any, rows: int, all_new: bool) -> None:
    """A log in parts; with `all_new` every row is another user's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from moe_apps.pipelines.recommendation.generator import PART_ROWS, World

    world = World.of(settings)
    log.mkdir(parents=True)
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        batch = world.batch(min(PART_ROWS, rows - start), part)
        table = pa.Table.from_batches([batch])
        if all_new:
            people = pa.array([f"u{start + row}" for row in range(batch.num_rows)])
            place = batch.schema.get_field_index("user_id")
            table = table.set_column(place, "user_id", people)
        pq.write_table(table, log / f"part-{part:05d}.parquet")


def trained(folder: Path, log: Path, schema: Any, args: argparse.Namespace) -> dict[str, Any]:
    """One epoch on the log by the command line; time, memory and what the run says."""
    from moe_apps.pipelines.config import dump_config

    (folder / "schema.yaml").write_text(dump_config(schema))
    settings = [
        f"model.name={args.system}",
        "train.epochs=1",
        f"train.batch_size={args.batch_sizes[-1]}",
        "data.streamed=true",
        "evaluation.dense_twin=false",
        f"evaluation.boosting={args.boosting}",
    ]
    command = [sys.executable, "-m", "moe_apps", "train", "recommendation", "--json"]
    command += ["--data", str(log), "--schema", str(folder / "schema.yaml")]
    command += ["--output", str(folder / "run")]
    command += [part for one in settings for part in ("--set", one)]
    began = time.perf_counter()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'runs.db'}"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"the training ended with code {done.returncode}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    metrics = json.loads(done.stdout.splitlines()[-1])
    timing = metrics["timing"]
    print(metrics["data"]["notes"])
    return {
        "system": args.system,
        "rows": args.rows,
        "batch": args.batch_sizes[-1],
        "peak_gib": round(peak, 2),
        "reading_seconds": round(timing["reading_seconds"]),
        "epoch_seconds": round(timing["training_seconds"]),
        "training_rows_per_second": round(timing["rows_per_second"]),
        "all_seconds": round(seconds),
        "parameters": metrics["parameters"]["total"],
        "hashed": sum("hashed into" in note for note in metrics["data"]["notes"]),
        "gigabytes": round(folder_size(log) / 1e9, 2),
    }


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def keep(row: dict[str, Any], args: argparse.Namespace) -> None:
    """Put a row into the results in place of the same one; smaller trials are only shown."""
    row |= circumstances()
    print(row)
    if args.rows < 10_000_000:
        return
    file = RESULTS / "recommendation_throughput_memory.csv"
    old = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["what"])
    old = old[old["what"] != row["what"]]
    pd.concat([old, pd.DataFrame([row])]).to_csv(file, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=["rates", "memory", "categories"])
    parser.add_argument("--system", default="mmoe")
    parser.add_argument("--rows", type=int, help="by default 60,000, or 10,000,000 on disk")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[512, 8192])
    parser.add_argument("--boosting", default="false", help="fit LightGBM too: true or false")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "recommendation_throughput_rates.csv"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of calls for each rate")
    parser.add_argument("--log", type=Path, help="keep the log there; use it if it is there")
    parser.add_argument("--write-only", action="store_true", help="write the log, train nothing")
    parser.add_argument("--folder", type=Path, help="for run and log, removed at the end")
    args = parser.parse_args()
    args.rows = args.rows or (60_000 if args.study == "rates" else 10_000_000)
    if (
        args.study != "rates"
        and shutil.disk_usage(args.folder or tempfile.gettempdir()).free < 1e10
    ):
        raise SystemExit("10 GB of free disk are needed; name another place with --folder")
    {"rates": rates, "memory": memory, "categories": categories}[args.study](args)


if __name__ == "__main__":
    main()
