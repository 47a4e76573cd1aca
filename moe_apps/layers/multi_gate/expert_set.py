"""All experts of a bank on every row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.experts import ExpertBank


class ExpertSet(keras.layers.Layer):
    """Runs every expert of a bank on every row, `(..., features)` to `(..., experts, units)`.

    With `normalize`, the outputs pass a batch normalisation of their own for each expert and
    then Swish, `silu(BN_e(f_e(x)))`. That keeps the experts on one scale and their units alive.

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430 (the normalisation).

    Args:
        bank: an `ExpertBank`; with `normalize` one whose output has no activation.
        normalize: Default False.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real rows; others do not enter the normalisation.

    Example:
        >>> from moe_apps.layers import FFNExperts
        >>> tuple(ExpertSet(FFNExperts(4, 16, output_dim=3))(keras.random.normal((5, 8))).shape)
        (5, 4, 3)
    """

    def __init__(self, bank: ExpertBank, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.bank = bank
        self.num_experts = bank.num_experts
        self.normalization = (
            keras.layers.BatchNormalization(dtype=self.dtype_policy) if normalize else None
        )

    def build(self, input_shape: Any) -> None:
        if not self.bank.built:
            self.bank.build((None, None, input_shape[-1]))
        if self.normalization is not None:
            units = self.bank.features_out(input_shape[-1])
            self.normalization.build((None, self.num_experts * units))
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        rows = self.bank.prepare(ops.reshape(x, (-1, x.shape[-1])))[None]
        outputs = ops.transpose(self.bank(rows), (1, 0, 2))  # (rows, experts, units)
        units = outputs.shape[-1]
        if self.normalization is not None:
            flat = ops.reshape(outputs, (-1, self.num_experts * units))
            mask = None if mask is None else ops.reshape(mask, (-1,))
            outputs = ops.silu(self.normalization(flat, training=training, mask=mask))
        return ops.reshape(outputs, (*ops.shape(x)[:-1], self.num_experts, units))

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None  # the mask is for the normalisation; the layer around hands it on
