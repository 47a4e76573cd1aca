"""Training settings, the same for every domain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from moe_apps.pipelines.config import Settings

REFUSED_STRATEGIES = {
    "multi_worker": "Keras 3 fit fails under MultiWorkerMirroredStrategy (keras issue 20585)",
    "parameter_server": "Keras 3 does not support ParameterServerStrategy (keras issue 18624)",
    "data_parallel": "keras.distribution shards nothing on TensorFlow and raises no error there",
    "model_parallel": "keras.distribution shards nothing on TensorFlow and raises no error there",
}


class TrainSettings(Settings):
    """How a model is trained; every field has a default that works on two CPU cores.

    Attributes:
        epochs: Most epochs to train.
        steps_per_epoch: Batches an epoch; `None` for as many as show every example once.
        batch_size: Examples a batch, over all devices.
        learning_rate: Peak learning rate of AdamW.
        schedule: After the warm-up: `cosine` down to `final_fraction`, or `constant`.
        warmup_fraction: Share of all batches in which the rate rises linearly from 0.
        final_fraction: Learning rate at the end of `cosine`, as a share of the peak.
        weight_decay: Decoupled decay; biases and normalisation weights are exempt.
        beta_1: Decay of AdamW's first moment.
        beta_2: Decay of AdamW's second moment.
        clip_norm: Largest norm of the gradient over all weights; 0 for no clipping.
        gradient_accumulation: Batches whose gradients are averaged into one update.
        ema: Momentum, per update, of the averaged weights that are judged and kept; 0 for none.
        patience: Epochs without a better validation value before training stops; 0 for never.
        precision: Keras dtype policy the model is made with.
        strategy: `mirrored` copies the model to every GPU of this machine.
        jit_compile: XLA; `auto` leaves it to Keras (off on a CPU, on where it works).
        backend: Keras backend to train on.

    Example:
        >>> TrainSettings(epochs=3, schedule="constant").learning_rate
        0.001
    """

    epochs: int = Field(default=10, ge=1, le=100_000)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, ge=0)
    gradient_accumulation: int = Field(default=1, ge=1)
    ema: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    strategy: str = "none"
    jit_compile: Literal["auto", True, False] = "auto"
    backend: Literal["tensorflow", "jax"] = "tensorflow"

    @field_validator("strategy")
    @classmethod
    def _strategy_that_works(cls, strategy: str, info: ValidationInfo) -> str:
        if strategy == "mirrored" and info.data.get("gradient_accumulation", 1) > 1:
            raise ValueError(
                "expected none with gradient_accumulation: "
                "Keras 3 fails on it under MirroredStrategy"
            )
        if strategy in ("none", "mirrored"):
            return strategy
        reason = REFUSED_STRATEGIES.get(strategy)
        raise ValueError("expected none or mirrored" + (f": {reason}" if reason else ""))

    @field_validator("jit_compile")
    @classmethod
    def _jit_on_one_device(cls, jit_compile: str | bool, info: ValidationInfo) -> str | bool:
        if jit_compile is True and info.data.get("strategy") == "mirrored":
            raise ValueError(
                "expected auto or false with strategy mirrored: "
                "XLA fails there on layers with random state"
            )
        return jit_compile

    @field_validator("backend")
    @classmethod
    def _backend_of_strategy(cls, backend: str, info: ValidationInfo) -> str:
        if backend == "jax" and info.data.get("strategy") == "mirrored":
            raise ValueError(
                "expected tensorflow with strategy mirrored: it is TensorFlow's MirroredStrategy"
            )
        return backend
