"""One bank made of several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.dispatch.extra_groups import ExtraGroups
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "mixed",
    paper="Jin et al. 2024, arXiv 2410.07348",
    purpose="experts of several kinds side by side",
)
class MixedExperts(ExpertBank):
    """Experts of several kinds in one bank, numbered in the order of the banks.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348 (experts of unequal cost).

    Args:
        banks: expert banks, or their configs. All must give as many features.
        num_experts: the sum over the banks, by default; another number is refused.

    Example:
        >>> from moe_apps.layers import CopyExperts, FFNExperts, ZeroExperts
        >>> bank = MixedExperts([FFNExperts(4, hidden_dim=16), ZeroExperts(1), CopyExperts(1)])
        >>> bank.num_experts
        6
    """

    def __init__(
        self,
        banks: Sequence[ExpertBank | dict[str, Any]],
        num_experts: int | None = None,
        **kwargs: Any,
    ) -> None:
        revived: list[ExpertBank] = [revive(bank) for bank in banks]
        total = sum(bank.num_experts for bank in revived)
        if num_experts not in (None, total):
            raise ValueError(f"`num_experts` is {num_experts}, but the banks have {total} experts.")
        super().__init__(total, **kwargs)
        for bank in revived:
            if type(bank).prepare is not ExpertBank.prepare:
                raise ValueError(
                    f"`banks` must work on the tokens themselves, but {type(bank).__name__} "
                    "works on what its `prepare` makes of them."
                )
        self.banks = revived

    def build(self, input_shape: Any) -> None:
        outputs = {bank.name: bank.features_out(input_shape[-1]) for bank in self.banks}
        if len(set(outputs.values())) > 1:
            raise ValueError(f"`banks` must give as many features each. Received: {outputs}")
        for bank in self.banks:
            if not bank.built:  # a bank revived from its config comes built
                bank.build(input_shape)
        self.built = True

    def features_out(self, features: int) -> int:
        return self.banks[0].features_out(features)

    def call(self, x: Any, expert_ids: Any = None, extra: ExtraGroups | None = None) -> Any:
        ends = list(accumulate(bank.num_experts for bank in self.banks))
        ranges = [
            (bank, end - bank.num_experts, end) for bank, end in zip(self.banks, ends, strict=True)
        ]
        if isinstance(x, list | tuple):
            return [y for bank, start, end in ranges for y in bank(list(x[start:end]))]
        if expert_ids is not None:
            return self._by_id(x, expert_ids, ranges)
        if extra is not None:
            return self._with_extra(x, extra, ranges)
        to_all = x.shape[0] == 1 and self.num_experts > 1
        return ops.concatenate(
            [bank(x if to_all else x[start:end]) for bank, start, end in ranges], axis=0
        )

    def _with_extra(self, x: Any, extra: ExtraGroups, ranges: Any) -> Any:
        """Outputs of the first groups, and the extra groups' as a sum: each bank fills its own."""
        first, rest = [], []
        for bank, start, end in ranges:

            def groups_before(expert: int) -> Any:
                before = ops.sum(ops.cast(extra.expert_ids < expert, "int32"))
                return ops.clip(before, extra.start, extra.end)

            own = ExtraGroups(
                extra.rows,
                ops.clip(extra.expert_ids - start, 0, bank.num_experts - 1),
                groups_before(start),
                groups_before(end),
            )
            outputs, extra_outputs = bank(x[start:end], extra=own)
            first.append(outputs)
            rest.append(extra_outputs)
        return ops.concatenate(first, axis=0), sum(rest)

    def _by_id(self, x: Any, expert_ids: Any, ranges: Any) -> Any:
        """Each group's output by its own bank, out of the outputs of all banks."""
        outputs: Any = None
        for bank, start, _ in ranges:
            own = ops.clip(expert_ids - start, 0, bank.num_experts - 1)  # still ascending
            candidate = bank(x, expert_ids=own)
            if outputs is None:
                outputs = candidate
            else:  # banks stand in the order of their experts, so the last that fits is right
                here = ops.reshape(expert_ids >= start, (-1,) + (1,) * (len(x.shape) - 1))
                outputs = ops.where(here, candidate, outputs)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "banks": [serialize_part(bank) for bank in self.banks]}
