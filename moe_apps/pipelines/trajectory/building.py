"""Models from settings: TMMOE, its dense twin and the LSTMs, with the statistics of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from moe_apps.errors import ConfigError
from moe_apps.models.trajectory import LSTMEncoder, TrajectoryModel, tmmoe
from moe_apps.models.trajectory.presets import TMMOE_PRESETS
from moe_apps.pipelines.optimisation import compile_model, precision, strategy_scope
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model
from moe_apps.pipelines.trajectory.baselines import constant_velocity_way
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.windows import Windows

FILES = {
    "model": "model.keras",
    "dense_twin": "dense_twin.keras",
    "lstm_single_task": "lstm_single_task.keras",
    "lstm_multi_task": "lstm_multi_task.keras",
}
"""The networks of a run, and the files that they are kept in."""

SIZES = ("channels", "levels", "dropout", "num_experts", "expert_dim", "head_dim")
STATISTICS_WINDOWS = 8192


def kinds(config: TrajectoryConfig) -> list[str]:
    """The networks that the settings ask for; the model comes first."""
    wanted = {"dense_twin": config.evaluation.dense_twin}
    return [kind for kind in FILES if kind == "model" or wanted.get(kind, config.evaluation.lstm)]


def build_model(config: TrajectoryConfig, kind: str, train: Windows) -> TrajectoryModel:
    """A network of a kind (see `FILES`), fresh, or with the weights of the run `model.initial`.

    Raises:
        ConfigError: sizes that do not go together, or an initial run that does not fit.
    """
    settings = config.model
    try:
        with strategy_scope(config.train):
            model = _fresh(config, kind)
    except ValueError as error:
        raise ConfigError(f"model: {str(error).splitlines()[0]}") from error
    if settings.initial is None:
        set_statistics(model, config, train)
    else:
        _take_weights(model, Path(settings.initial), kind)
    return model


def _fresh(config: TrajectoryConfig, kind: str) -> TrajectoryModel:
    settings, data = config.model, config.data
    chosen = {name: getattr(settings, name) for name in SIZES}
    sizes = {name: size for name, size in chosen.items() if size is not None}
    common: dict[str, Any] = {
        "history_steps": data.history_steps,
        "horizon": data.horizon_steps,
        "rate": data.rate,
        "velocity_span": data.velocity_span,
        "multimodal": settings.multimodal,
        "gaussian": settings.gaussian,
        "nll_weight": settings.nll_weight,
        "weighting": settings.uncertainty_weighting,
        "name": kind,
    }
    if kind.startswith("lstm"):
        head_dim = sizes.get("head_dim", TMMOE_PRESETS[settings.preset]["head_dim"])
        encoder = LSTMEncoder(
            config.evaluation.lstm_units,
            multi_task=kind == "lstm_multi_task",
            dtype=precision(config.train),
            name="encoder",
        )
        # Three single tasks have nothing to be weighed against each other.
        common["weighting"] = settings.uncertainty_weighting and kind == "lstm_multi_task"
        return TrajectoryModel(encoder, head_dim=head_dim, **common)
    return tmmoe(
        settings.preset,
        dense=kind == "dense_twin",
        gate=settings.gate,
        experts=settings.experts,
        gate_dropout=settings.gate_dropout,
        kernel_size=settings.kernel_size,
        seed=config.seed,
        context=settings.context_gate,
        sites=len(settings.sites),
        dtype=precision(config.train),
        **sizes,
        **common,
    )


def set_statistics(model: TrajectoryModel, config: TrajectoryConfig, train: Windows) -> None:
    """Give a model the mean and deviation of features and of what constant velocity misses."""
    rng = np.random.default_rng(config.seed)
    some = rng.permutation(len(train))[:STATISTICS_WINDOWS]
    part = train.take(np.sort(some))
    raw = ops.convert_to_numpy(
        model.features.raw({name: ops.convert_to_tensor(v) for name, v in part.inputs.items()})
    )
    missed = part.future - constant_velocity_way(part, config.data)
    model.set_statistics(
        raw.mean(axis=(0, 1)), raw.std(axis=(0, 1)), np.sqrt(np.square(missed).mean(axis=0))
    )


def _take_weights(model: TrajectoryModel, folder: Path, kind: str) -> None:
    run = RunFolder.open(folder)
    file = run.path / FILES[kind]
    if not file.is_file():
        raise ConfigError(
            f"model.initial: {folder} has no {file.name}; train it with that network, or leave the "
            "network out here (evaluation.dense_twin, evaluation.lstm)"
        )
    trained = load_model(file)
    shapes = [tuple(w.shape) for w in trained.weights], [tuple(w.shape) for w in model.weights]
    if trained.get_config()["rate"] != model.rate or shapes[0] != shapes[1]:
        raise ConfigError(
            f"model.initial: {file} has other sizes, rate, history or horizon than these settings"
        )
    model.set_weights(trained.get_weights())


def compile_trajectory(
    model: TrajectoryModel, config: TrajectoryConfig, batches_per_epoch: int
) -> None:
    """Compile with the model's own loss."""
    compile_model(
        model, config.train, loss=None, total_steps=config.train.epochs * batches_per_epoch
    )
