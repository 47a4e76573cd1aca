"""Runs with small untrained models, made in a second each, as folders that answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import save_model

RATE = 8000
"""Hz, of the acoustic run."""


def _started(config: RunConfig, folder: Path, metrics: dict[str, Any]) -> RunFolder:
    run = RunFolder.create(config.domain, folder)
    run.start(config)
    run.write_metrics(metrics)
    return run


def forecasting(folder: Path) -> RunFolder:
    """Time-MoE of one layer and four experts: 24 hours back, 6 ahead."""
    from moe_apps.pipelines.forecasting.config import ForecastingConfig
    from tiny_forecaster import HORIZON, LOOK_BACK, tiny_forecaster

    config = ForecastingConfig.model_validate(
        {"data": {"look_back": LOOK_BACK, "horizon": HORIZON}}
    )
    hours = {"06": [[0.7, 0.1, 0.1, 0.1]], "18": [[0.1, 0.7, 0.1, 0.1]]}
    routing = {"specialisation": {"hour": [0.3]}, "by_hour": hours}
    run = _started(config, folder, {"routing": routing})
    save_model(tiny_forecaster(), run.model_file)
    return run


def trajectory(folder: Path) -> RunFolder:
    """TMMOE: 1 s back, 2 s ahead."""
    from moe_apps.pipelines.trajectory.building import build_model
    from moe_apps.pipelines.trajectory.config import SimulatorSettings, TrajectoryConfig
    from moe_apps.pipelines.trajectory.data import load_tracks
    from moe_apps.pipelines.trajectory.windows import WindowCutter

    config = TrajectoryConfig.model_validate(
        {
            "data": {"history": 1.0, "horizon": 2.0, "intention_window": 2.0},
            "model": {"preset": "tiny", "channels": 8, "expert_dim": 8, "head_dim": 8},
        }
    )
    some = config.data.model_copy(
        update={"simulator": SimulatorSettings(roads=1, vehicles=6, seconds=8)}
    )
    cutter = WindowCutter(load_tracks(some, seed=0), some)
    task = {"by_intention": {"keep": [0.4, 0.3, 0.2, 0.1], "left": [0.1, 0.2, 0.3, 0.4]}}
    run = _started(config, folder, {"routing": {"tasks": {"intention": task}}})
    save_model(build_model(config, "model", cutter.cut(cutter.rows())), run.model_file)
    return run


def acoustic(folder: Path) -> RunFolder:
    """CMoE of three experts that tells two classes apart in segments of a second."""
    from moe_apps.pipelines.acoustic.building import (
        CLASSES_FILE,
        build_model,
        feature_layer,
        set_statistics,
    )
    from moe_apps.pipelines.acoustic.config import AcousticConfig

    config = AcousticConfig.model_validate(
        {
            "data": {"sample_rate": RATE, "segment": 1.0},
            "features": {
                "bands": 16,
                "frame_ms": 32,
                "hop_ms": 16,
                "f_min": 50,
                "demon_settings": {"sub_bands": 2},
            },
            "model": {"front_end": "tiny", "num_experts": 3, "demon_units": 8},
        }
    )
    features = feature_layer(config)
    model = build_model(config, "model", features, classes=2)
    noise = np.random.default_rng(0).normal(size=(8, RATE)).astype(np.float32)
    set_statistics(model, {name: np.asarray(v) for name, v in features(noise).items()}, seed=0)
    by_class = {"high": [0.8, 0.1, 0.1], "low": [0.1, 0.6, 0.3]}
    metrics = {"test": {"accuracy": 0.75, "ece": 0.1}, "routing": {"by_class": by_class}}
    run = _started(config, folder, metrics)
    write_json(run.path / CLASSES_FILE, {"classes": ["high", "low"]})
    save_model(model, run.model_file)
    return run


def deraining(folder: Path) -> RunFolder:
    """DRSformer of width 4, which leaves images as they are."""
    from moe_apps.pipelines.deraining.config import DerainingConfig
    from moe_apps.pipelines.deraining.restoration import build_model

    config = DerainingConfig.model_validate({"model": {"name": "drsformer", "width": 4}})
    run = _started(config, folder, {})
    save_model(build_model(config), run.model_file)
    return run


def recommendation(folder: Path) -> RunFolder:
    """MMoE of two experts on 500 rows of the generator."""
    from moe_apps.pipelines.recommendation.config import RecommendationConfig
    from moe_apps.pipelines.recommendation.data import prepare
    from moe_apps.pipelines.recommendation.kept_files import (
        EXAMPLE_FILE,
        PREPROCESSING_FILE,
        keep_tables,
    )
    from moe_apps.pipelines.recommendation.served_inputs import raw_of
    from moe_apps.pipelines.recommendation.systems import build_model

    config = RecommendationConfig.model_validate(
        {"data": {"rows": 500}, "model": {"units": [8], "tower_units": [], "num_experts": 2}}
    )
    data = prepare(config)
    click = {"auc": 0.7, "calibration_error": 0.02}
    by_domain = {"home": [0.8, 0.2], "email": [0.2, 0.8]}
    gates = {name: {"by_domain": by_domain} for name in ("click", "minutes", "buy")}
    run = _started(
        config, folder, {"test": {"tasks": {"click": click}}, "routing": {"gates": gates}}
    )
    data.preprocessing.save(run.path / PREPROCESSING_FILE)
    keep_tables(run, data)
    write_json(run.path / EXAMPLE_FILE, raw_of(data.preprocessing, data.test.take(slice(0, 2))))
    save_model(build_model(config, data.preprocessing, data.train), run.model_file)
    return run


SMALL_RUNS: dict[str, Callable[[Path], RunFolder]] = {
    one.__name__: one for one in (forecasting, trajectory, acoustic, deraining, recommendation)
}
