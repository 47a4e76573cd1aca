"""Whole gated networks that share a frozen base and differ by low-rank updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import ExpertBank, SwiGLU
from moe_apps.layers.lora.frozen_base import FrozenBase
from moe_apps.layers.lora.lora_experts import check_rank
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "mix_lora",
    paper="Li et al. 2024, arXiv 2404.15159 (MixLoRA)",
    purpose="fine-tunes a frozen gated network by low-rank updates of all its matrices",
)
class MixLoRAExperts(FrozenBase, ExpertBank):
    """Gated networks `(silu(x G_e) * (x U_e)) D_e` on one frozen base.

    Each matrix is the frozen one plus a low-rank update, `G_e = G + (alpha / rank) A_e B_e`, and
    so for U and D. B starts at 0: every expert is the base at first. The base stands inside the
    router's weighted sum, so the layer starts as the base only where the weights sum to 1, as
    with `TopK(k=2, renormalize=True)`, which is the paper's router.

    Source: Li et al. 2024, "MixLoRA", arXiv 2404.15159.

    Args:
        num_experts: number of experts.
        base: the `SwiGLU` to adapt, without output gate. Its weights become non-trainable.
        rank: rank of the updates. Default 16.
        alpha: scale, divided by the rank. Default 32.
        kernel_initializer: of the matrices A. Default "he_uniform".

    Example:
        >>> import keras
        >>> from moe_apps.layers import MoE, SwiGLU, TopK
        >>> base = SwiGLU(hidden_dim=16)
        >>> layer = MoE(TopK(k=2, renormalize=True), MixLoRAExperts(4, base, rank=2))
        >>> x = keras.random.normal((5, 8))
        >>> bool(ops.all(ops.abs(layer(x) - base(x)) < 1e-5))
        True
    """

    def __init__(
        self,
        num_experts: int,
        base: SwiGLU | dict[str, Any],
        rank: int = 16,
        alpha: float = 32.0,
        kernel_initializer: Any = "he_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, kernel_initializer=kernel_initializer, **kwargs)
        check_rank(rank, alpha)
        base = revive(base)
        if not isinstance(base, SwiGLU) or base.gated:
            raise ValueError(f"`base` must be a `SwiGLU` without output gate. Received: {base}")
        self.base = base
        self.rank = rank
        self.alpha = alpha
        self.freeze()

    def build(self, input_shape: Any) -> None:
        features, hidden = input_shape[-1], self.base.hidden_dim
        if not self.base.built:
            self.base.build((None, features))
        for name, rows, columns in (
            ("gate", features, hidden),
            ("up", features, hidden),
            ("down", hidden, features),
        ):
            self.add_stacked_weight(f"{name}_a", (rows, self.rank), self.kernel_initializer)
            self.add_stacked_weight(f"{name}_b", (self.rank, columns), "zeros")
        self.built = True

    def computation(self) -> Callable[..., Any]:
        kernels = (self.base.gate, self.base.up, self.base.down)
        base = [ops.stop_gradient(ops.copy(kernel)) for kernel in kernels]
        return lambda x, *updates: self._adapted(x, base, updates)

    def _adapted(self, x: Any, base: Sequence[Any], updates: Sequence[Any]) -> Any:
        def product(x: Any, matrix: int) -> Any:
            a, b = updates[2 * matrix : 2 * matrix + 2]
            update = ops.matmul(ops.matmul(x, a), b)
            return ops.matmul(x, base[matrix]) + (self.alpha / self.rank) * update

        hidden = ops.silu(product(x, 0)) * product(x, 1)
        return product(hidden, 2)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "base": serialize_part(self.base),
            "rank": self.rank,
            "alpha": self.alpha,
        }
