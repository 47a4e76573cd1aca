from __future__ import annotations

import keras
import numpy as np
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.optimisation import (
    check_backend,
    compile_model,
    learning_rate,
    optimizer,
    precision,
)
from moe_apps.pipelines.train_settings import TrainSettings


def rates(settings: TrainSettings, total_steps: int) -> list[float]:
    schedule = learning_rate(settings, total_steps)
    return [float(schedule(step)) for step in range(total_steps + 1)]


def test_cosine_warms_up_and_ends_at_the_final_fraction():
    settings = TrainSettings(learning_rate=2.0, warmup_fraction=0.2, final_fraction=0.1)
    values = rates(settings, 50)
    assert values[0] == 0 and values[5] == pytest.approx(1.0) and values[10] == pytest.approx(2.0)
    assert values[30] == pytest.approx((2.0 + 0.2) / 2)  # half-way down the cosine
    assert values[50] == pytest.approx(0.2)


def test_constant_stays_at_the_peak_after_the_warm_up():
    settings = TrainSettings(learning_rate=0.5, schedule="constant", warmup_fraction=0.1)
    values = rates(settings, 40)
    assert values[2] == pytest.approx(0.25)
    assert values[4:] == pytest.approx([0.5] * 37)


def test_without_warm_up_the_first_batch_has_the_peak_rate():
    assert rates(TrainSettings(learning_rate=0.5, warmup_fraction=0), 10)[0] == pytest.approx(0.5)


def test_optimizer_follows_the_settings():
    settings = TrainSettings(
        weight_decay=0.3, beta_1=0.8, beta_2=0.95, clip_norm=2.0, gradient_accumulation=4, ema=0.9
    )
    adamw = optimizer(settings, 100)
    assert (adamw.weight_decay, adamw.beta_1, adamw.beta_2) == (0.3, 0.8, 0.95)
    assert (adamw.global_clipnorm, adamw.gradient_accumulation_steps) == (2.0, 4)
    assert adamw.ema_momentum**4 == pytest.approx(0.9)
    assert optimizer(settings, 100, devices=4).global_clipnorm == 0.5
    plain = optimizer(TrainSettings(clip_norm=0), 100)
    assert plain.global_clipnorm is None and plain.gradient_accumulation_steps is None
    assert not plain.use_ema


def test_weight_decay_spares_biases_and_normalisation():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2), keras.layers.RMSNormalization()]
    )
    settings = TrainSettings(learning_rate=0.1, schedule="constant", warmup_fraction=0)
    compile_model(
        model, settings.model_copy(update={"weight_decay": 0.5}), loss="mse", total_steps=10
    )
    for weight in model.weights:
        weight.assign(keras.ops.ones(weight.shape))
    weights = model.trainable_weights
    model.optimizer.apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    decayed = {
        weight.name: float(np.mean(keras.ops.convert_to_numpy(weight))) for weight in model.weights
    }
    assert decayed == pytest.approx({"kernel": 0.95, "bias": 1.0, "scale": 1.0})


def test_accumulated_gradients_make_one_update_of_their_mean():
    settings = TrainSettings(
        gradient_accumulation=2, schedule="constant", warmup_fraction=0, weight_decay=0
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    compile_model(model, settings, loss="mse", total_steps=4)
    (kernel,) = model.trainable_weights
    start = keras.ops.convert_to_numpy(kernel).item()
    model.optimizer.apply([keras.ops.ones((1, 1))], [kernel])
    assert keras.ops.convert_to_numpy(kernel).item() == start
    model.optimizer.apply([keras.ops.ones((1, 1))], [kernel])
    assert keras.ops.convert_to_numpy(kernel).item() == pytest.approx(
        start - settings.learning_rate, rel=1e-3
    )


def test_float16_gets_loss_scaling_even_for_a_functional_model():
    settings = TrainSettings(precision="mixed_float16")
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, dtype=precision(settings))(inputs)
    model = keras.Model(inputs, outputs)
    compile_model(model, settings, loss="mse", total_steps=4)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(model.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize(
    ("name", "compute"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")]
)
def test_precision_keeps_variables_in_float32(name, compute):
    policy = precision(TrainSettings(precision=name))
    assert (policy.compute_dtype, policy.variable_dtype) == (compute, "float32")


def test_another_backend_is_refused_with_what_to_do():
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    with pytest.raises(ConfigError, match=f"KERAS_BACKEND={other} before keras is imported"):
        check_backend(TrainSettings(backend=other))
