"""Networks from settings, and the features that they look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from moe_apps.errors import ConfigError
from moe_apps.models.acoustic import AcousticFeatures, CMoE, SpectraFeatures
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.optimisation import compile_model, precision, strategy_scope

FILES = {"model": "model.keras", "dense_twin": "dense_twin.keras"}
"""The networks of a run, and the files that they are kept in."""

CLASSES_FILE = "classes.json"
HEAD_ROOM = 0.48
"""Of the sample rate: above, resampling has taken the sound away."""
STATISTICS_SEGMENTS = 4096


def kinds(config: AcousticConfig) -> list[str]:
    """The networks that the settings ask for; the model comes first."""
    return ["model", *(["dense_twin"] if config.evaluation.dense_twin else [])]


def feature_layer(config: AcousticConfig) -> AcousticFeatures:
    """What makes features of segments; the DEMON spectrum is always made, for the baselines.

    Raises:
        ConfigError: settings that do not go together.
    """
    settings, data = config.features, config.data
    demon = settings.demon_settings
    rate = data.sample_rate
    kind = "mel" if settings.kind == "none" else settings.kind
    try:
        return AcousticFeatures(
            kind,
            samples=data.samples,
            sample_rate=rate,
            demon={
                "low": min(demon.low, 0.1 * rate),
                "high": min(demon.high, HEAD_ROOM * rate),
                "sub_bands": demon.sub_bands,
                "envelope_rate": 4 * demon.max_frequency,
                "max_frequency": demon.max_frequency,
            },
            frame=round(settings.frame_ms * rate / 1000),
            hop=max(round(settings.hop_ms * rate / 1000), 1),
            bands=settings.bands,
            coefficients=settings.coefficients,
            bins_per_octave=settings.bins_per_octave,
            f_min=settings.f_min,
            f_max=settings.f_max,
            time_pool=settings.time_pool,
        )
    except ValueError as error:
        raise ConfigError(f"features: {str(error).splitlines()[0]}") from error


def build_model(
    config: AcousticConfig, kind: str, features: AcousticFeatures | SpectraFeatures, classes: int
) -> CMoE:
    """A fresh network of a kind (see `FILES`).

    Raises:
        ConfigError: sizes that do not go together.
    """
    settings = config.model
    shapes = features.shapes()
    image, demon = shapes.get("image"), shapes.get("demon")
    if isinstance(features, AcousticFeatures):
        image = None if config.features.kind == "none" else image
        demon = demon if config.features.demon else None
    try:
        with strategy_scope(config.train):
            return CMoE(
                classes,
                features=features,
                image_shape=image,
                demon_shape=demon,
                front_end=settings.front_end,
                pooling=settings.pooling,
                num_experts=1 if kind == "dense_twin" else settings.num_experts,
                expert_hidden=settings.expert_hidden,
                gate=settings.gate,
                activation=settings.activation,
                balance_loss_weight=settings.balance_loss_weight,
                router_input="embedding" if kind == "dense_twin" else settings.router_input,
                residual=settings.residual,
                demon_encoder=settings.demon_encoder,
                demon_units=settings.demon_units,
                dropout=settings.dropout,
                label_smoothing=config.train.label_smoothing,
                dtype=precision(config.train),
                name=kind,
            )
    except ValueError as error:
        raise ConfigError(f"model: {str(error).splitlines()[0]}") from error


def set_statistics(model: CMoE, inputs: dict[str, Any], seed: int) -> None:
    """Give a model mean and deviation of its inputs over some training segments."""
    count = len(next(iter(inputs.values())))
    some = np.sort(np.random.default_rng(seed).permutation(count)[:STATISTICS_SEGMENTS])
    model.set_statistics({name: inputs[name][some] for name in model.scales})


def compile_acoustic(model: CMoE, config: AcousticConfig, batches_per_epoch: int) -> None:
    """Compile with the model's own loss."""
    compile_model(
        model, config.train, loss=None, total_steps=config.train.epochs * batches_per_epoch
    )
