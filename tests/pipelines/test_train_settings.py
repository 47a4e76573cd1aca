from __future__ import annotations

import pytest
from pydantic import ValidationError

from moe_apps.errors import ConfigError
from moe_apps.pipelines.config import RunConfig, load_config
from moe_apps.pipelines.train_settings import TrainSettings


class Config(RunConfig):
    domain: str = "any"
    train: TrainSettings = TrainSettings()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.strategy=multi_worker", "fit fails under MultiWorkerMirroredStrategy"),
        ("train.strategy=parameter_server", "does not support ParameterServerStrategy"),
        ("train.strategy=data_parallel", "shards nothing on TensorFlow"),
        ("train.strategy=model_parallel", "shards nothing on TensorFlow"),
        ("train.strategy=other", "expected none or mirrored; found 'other'"),
        ("train.epochs=0", "greater than or equal to 1; found 0"),
        ("train.precision=float64", "found 'float64'"),
        ("train.ema=1", "less than 1"),
        ("train.learning_rate=fast", "found 'fast'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(override, reason):
    with pytest.raises(ConfigError) as error:
        load_config(Config, overrides=[override])
    message = str(error.value)
    assert reason in message and override.split("=")[0] in message and "\n" not in message


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"strategy": "mirrored", "backend": "jax"}, "TensorFlow's MirroredStrategy"),
        ({"strategy": "mirrored", "jit_compile": True}, "XLA fails there"),
        ({"strategy": "mirrored", "gradient_accumulation": 2}, "Keras 3 fails on it"),
    ],
)
def test_combinations_that_fail_are_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        TrainSettings(**settings)


def test_defaults_and_settings_from_yaml_are_accepted():
    overrides = ["train.jit_compile=true", "train.backend=jax", "train.ema=0.99"]
    train = load_config(Config, overrides=overrides).train
    assert (train.jit_compile, train.backend, train.ema) == (True, "jax", 0.99)
