"""The pinball loss of quantiles, and the focal loss of rare classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps")
class PinballLoss(keras.losses.Loss):
    """Loss whose minimum is the quantile `tau` of the targets.

    `mean(max(tau * d, (tau - 1) * d))` over the last axis, with `d = y_true - y_pred`.

    Source: Koenker & Bassett 1978, "Regression Quantiles", Econometrica 46.

    Args:
        tau: the quantile, in [0, 1], or one for each entry of the last axis. Default 0.5, the
            median.
        reduction: of the losses of the batch. Default "sum_over_batch_size".

    Call arguments:
        y_true: `(batch, ..., n)`.
        y_pred: as `y_true`.

    Example:
        >>> loss = PinballLoss(tau=0.1)
        >>> round(float(loss(ops.array([[0.0, 0.0, 1.0, 1.0]]), ops.array([[1.0, 1.0, 1.0, 0.0]]))), 4)
        0.475
    """  # noqa: E501

    def __init__(
        self,
        tau: float | Sequence[float] = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "pinball_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        quantiles = tau if isinstance(tau, Sequence) else [tau]
        if not all(0 <= quantile <= 1 for quantile in quantiles):
            raise ValueError(f"`tau` must be in [0, 1]. Received: tau={tau}")
        self.tau = tau

    def call(self, y_true: Any, y_pred: Any) -> Any:
        tau = ops.convert_to_tensor(self.tau, y_pred.dtype)
        # In the shape of the predictions, lest (batch,) and (batch, 1) make (batch, batch).
        error = ops.reshape(y_true, ops.shape(y_pred)) - y_pred
        return ops.mean(ops.maximum(tau * error, (tau - 1) * error), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tau": self.tau}


@keras.saving.register_keras_serializable(package="moe_apps")
class SigmoidFocalCrossEntropy(keras.losses.Loss):
    """Binary cross-entropy in which entries that are well classified count little.

    `sum(a * (1 - p_t)^gamma * cross_entropy)` over the last axis, where `p_t` is the probability
    given to the true label and `a` is `alpha` for positive and `1 - alpha` for negative labels.

    tensorflow-addons did not reduce the losses of a batch by default, which on JAX cannot be
    trained: here the default is their mean. A probability closer to 0 or 1 than Keras' epsilon
    counts as that epsilon.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002.

    Args:
        from_logits: predictions are logits, not probabilities. Default False.
        alpha: weight of positive labels, in [0, 1]; 0 weighs both kinds equally. Default 0.25.
        gamma: how fast well-classified entries lose weight, at least 0. Default 2.
        reduction: of the losses of the batch. Default "sum_over_batch_size".

    Call arguments:
        y_true: `(batch, ..., n)`, labels 0 and 1.
        y_pred: as `y_true`.

    Example:
        >>> loss = SigmoidFocalCrossEntropy(reduction="none")
        >>> values = loss(ops.array([[1.0], [1.0]]), ops.array([[0.97], [0.6]]))
        >>> [round(float(value), 6) for value in values]
        [7e-06, 0.020433]
    """

    def __init__(
        self,
        from_logits: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sigmoid_focal_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if gamma < 0:
            raise ValueError(f"`gamma` must be at least 0. Received: gamma={gamma}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must be in [0, 1]. Received: alpha={alpha}")
        self.from_logits = from_logits
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = ops.reshape(y_true, ops.shape(y_pred))
        losses = ops.binary_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        if self.alpha:
            losses = losses * (y_true * self.alpha + (1 - y_true) * (1 - self.alpha))
        if self.gamma:
            chance = ops.sigmoid(y_pred) if self.from_logits else y_pred
            missed = y_true * (1 - chance) + (1 - y_true) * chance
            losses = losses * ops.power(missed, self.gamma)
        return ops.sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "alpha": self.alpha,
            "gamma": self.gamma,
        }
