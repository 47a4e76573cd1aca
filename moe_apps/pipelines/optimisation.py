"""From training settings to a compiled Keras model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from moe_apps.errors import ConfigError
from moe_apps.pipelines.train_settings import TrainSettings

# Decay pulls towards 0, which is no neutral value for a scale, and biases do not overfit.
WITHOUT_DECAY = ["bias", "gamma", "beta", "scale"]


def check_backend(settings: TrainSettings) -> None:
    """Refuse settings that ask for another backend than the one Keras runs on.

    On JAX, TensorFlow (which still feeds the data) is kept from taking the GPU's memory.

    Raises:
        ConfigError: `train.backend` differs from the running backend.

    Example:
        >>> check_backend(TrainSettings(backend=keras.backend.backend()))
    """
    running = keras.backend.backend()
    if settings.backend != running:
        raise ConfigError(
            f"train.backend: found {settings.backend}, but Keras already runs on {running} in "
            f"this process; set the environment variable KERAS_BACKEND={settings.backend} "
            "before keras is imported"
        )
    if running == "jax":
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def precision(settings: TrainSettings) -> keras.DTypePolicy:
    """Return the dtype policy to make the model's layers with.

    Example:
        >>> precision(TrainSettings(precision="mixed_bfloat16")).compute_dtype
        'bfloat16'
    """
    return keras.DTypePolicy(settings.precision)


def strategy_scope(settings: TrainSettings) -> AbstractContextManager[Any]:
    """Return the context to make and compile the model in; empty for one device.

    Raises:
        ConfigError: The batch cannot be shared out evenly among the devices.

    Example:
        >>> with strategy_scope(TrainSettings()):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    """
    if settings.strategy == "none":
        return nullcontext()
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy()
    devices = strategy.num_replicas_in_sync
    if settings.batch_size % devices:
        raise ConfigError(
            f"train.batch_size: expected a multiple of the {devices} devices of train.strategy "
            f"mirrored; found {settings.batch_size}"
        )
    return strategy.scope()


def learning_rate(settings: TrainSettings, total_steps: int) -> Any:
    """Return the learning-rate schedule over `total_steps` batches.

    Keras counts batches here, not updates, so gradient accumulation changes nothing.

    Example:
        >>> rate = learning_rate(TrainSettings(warmup_fraction=0.1, learning_rate=1.0), 100)
        >>> [round(float(rate(step)), 2) for step in (0, 5, 10, 55, 100)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = round(settings.warmup_fraction * total_steps)
    # A cosine that ends where it starts is constant: one Keras schedule serves both, with warm-up.
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(total_steps - warmup, 1),
        alpha=1.0 if settings.schedule == "constant" else settings.final_fraction,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def optimizer(
    settings: TrainSettings, total_steps: int, devices: int = 1
) -> keras.optimizers.Optimizer:
    """Return AdamW as the settings say, with loss scaling under mixed_float16.

    Under MirroredStrategy Keras clips the share of each device before it adds them up; sharing
    out `clip_norm` keeps the sum within it.

    Decoupled weight decay: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.

    Example:
        >>> optimizer(TrainSettings(ema=0.99), 100).use_ema
        True
    """
    accumulation = settings.gradient_accumulation
    adamw = keras.optimizers.AdamW(
        learning_rate=learning_rate(settings, total_steps),
        weight_decay=settings.weight_decay,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        global_clipnorm=settings.clip_norm / devices or None,
        gradient_accumulation_steps=accumulation if accumulation > 1 else None,
        use_ema=settings.ema > 0,
        # Keras averages after every batch, updating or not; the setting means every update.
        ema_momentum=settings.ema ** (1 / accumulation) if settings.ema else 0.99,
    )
    adamw.exclude_from_weight_decay(var_names=WITHOUT_DECAY)
    if settings.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(adamw)
    return adamw


def compile_model(
    model: keras.Model,
    settings: TrainSettings,
    *,
    loss: Any,
    total_steps: int,
    loss_weights: Any = None,
    metrics: Any = None,
) -> None:
    """Compile a model for `training.fit`.

    Args:
        model: Built model, made in `strategy_scope(settings)`.
        settings: How to train.
        loss: As in `keras.Model.compile`.
        total_steps: Batches of the whole training: epochs times batches an epoch.
        loss_weights: As in `keras.Model.compile`.
        metrics: As in `keras.Model.compile`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> compile_model(model, TrainSettings(), loss="mse", total_steps=100)
    """
    strategy = getattr(model, "distribute_strategy", None)
    devices = strategy.num_replicas_in_sync if strategy is not None else 1
    with model_scope(model):
        model.compile(
            optimizer=optimizer(settings, total_steps, devices),
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            jit_compile=settings.jit_compile,
            # Keras looks at the model's own policy, which is the global one in a functional
            # model of mixed_float16 layers; `optimizer` has done the scaling already.
            auto_scale_loss=False,
        )
        # Variables made in the first step would have TensorFlow trace it twice.
        model.optimizer.build(model.trainable_variables)


def model_scope(model: keras.Model) -> AbstractContextManager[Any]:
    """Return the scope of the strategy that the model was made in, to make variables beside it."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else nullcontext()
