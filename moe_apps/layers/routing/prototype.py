"""Routing to the experts whose prototypes lie nearest; experts come and go without training."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS

_OFF = -1e9


@listed(
    ROUTERS,
    "prototype",
    paper="Snell et al. 2017, arXiv 1703.05175 (prototypes)",
    purpose="cosine similarity to prototypes, experts added from examples without training",
    interpretation=True,
)
class PrototypeRouter(TopK):
    """Sends a token to the k experts with the most similar prototypes.

    `logit_e = max_m cos(x, prototype_em) / temperature` over the prototypes that are in use; an
    expert without one gets nothing. Weights are the softmax over the chosen experts, so that an
    expert added far away from a token changes neither its experts nor their weights. With k = 1
    the weight is always 1, and the task trains no prototype; they can be set from examples, and
    frozen by `trainable=False`.

    Source: Snell et al. 2017, "Prototypical Networks", arXiv 1703.05175. Interpretation: means
    of examples for prototypes are from there; cosine and the use as a router of experts that are
    added later are common practice, of no one source.

    Args:
        prototypes_per_expert: at least 1. Default 1.
        spare: experts, the last ones, that start without prototypes. Default 0.
        temperature: > 0, the initial value of the setting "temperature". Default 0.1.
        k: experts per token. Default 2.
        softmax: see `TopK`. Default "chosen".
        **kwargs: of `TopK`; `kernel_initializer` is that of the prototypes.

    Example:
        >>> router = PrototypeRouter(k=1, num_experts=3, spare=1)
        >>> x = ops.eye(4)
        >>> router.build(x.shape)
        >>> router.add_prototype(2, x[3:])
        >>> int(router(x).indices[3, 0])
        2
    """

    def __init__(
        self,
        prototypes_per_expert: int = 1,
        spare: int = 0,
        temperature: float = 0.1,
        k: int = 2,
        softmax: Literal["all", "chosen"] = "chosen",
        **kwargs: Any,
    ) -> None:
        super().__init__(k=k, softmax=softmax, **kwargs)
        if prototypes_per_expert < 1:
            raise ValueError(
                f"`prototypes_per_expert` must be at least 1. Received: {prototypes_per_expert}"
            )
        if spare < 0:
            raise ValueError(f"`spare` must be at least 0. Received: {spare}")
        if temperature <= 0:
            raise ValueError(f"`temperature` must be greater than 0. Received: {temperature}")
        self.prototypes_per_expert = prototypes_per_expert
        self.spare = spare
        self.temperature = temperature

    def build(self, input_shape: Any) -> None:
        num_experts, features = self.known_num_experts(), input_shape[-1]
        for name, value in (("k", self.k), ("spare", self.spare)):
            if value > num_experts:
                raise ValueError(f"`{name}` is {value}, but there are only {num_experts} experts.")
        shape = (num_experts, self.prototypes_per_expert)
        self.prototypes = self.add_weight(
            name="prototypes", shape=(*shape, features), initializer=self.kernel_initializer
        )
        used = np.arange(num_experts)[:, None] < num_experts - self.spare
        self.in_use = self.add_weight(
            name="in_use",
            shape=shape,
            initializer=np.broadcast_to(used, shape).astype("float32"),
            trainable=False,
        )
        self.add_setting("temperature", self.temperature)
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        tokens = _directions(self.jittered(inputs).tokens)
        cosines = ops.einsum("nd,emd->nem", tokens, _directions(self.prototypes))
        used = ops.convert_to_tensor(self.in_use) > 0
        return ops.max(ops.where(used, cosines / self.settings["temperature"], _OFF), axis=-1)

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)
        # The softmax has zeros there already, but where no expert at all is in use.
        used = ops.take_along_axis(logits, indices, axis=-1) > _OFF / 2
        return ops.where(used, weights, 0.0)

    def add_prototype(self, expert: int, examples: Any) -> None:
        """Give an expert a prototype, the mean direction of the examples.

        Args:
            expert: its number.
            examples: `(examples, features)`, as the router gets its tokens.

        Raises:
            ValueError: when all prototypes of the expert are in use.
        """
        in_use = np.array(ops.convert_to_numpy(self.in_use))
        free = np.flatnonzero(in_use[expert] == 0)
        if not len(free):
            raise ValueError(
                f"All {in_use.shape[1]} prototypes of expert {expert} are in use: make the router "
                "with more `prototypes_per_expert`, or call `remove_prototypes` first."
            )
        prototypes = np.array(ops.convert_to_numpy(self.prototypes))
        rows = ops.cast(ops.convert_to_tensor(examples), "float32")
        mean = ops.mean(_directions(rows), axis=0)
        prototypes[expert, free[0]] = ops.convert_to_numpy(_directions(mean))
        in_use[expert, free[0]] = 1
        self.prototypes.assign(prototypes)
        self.in_use.assign(in_use)

    def remove_prototypes(self, expert: int) -> None:
        """Take all prototypes of an expert out of use, so that it gets no token."""
        in_use = np.array(ops.convert_to_numpy(self.in_use))
        in_use[expert] = 0
        self.in_use.assign(in_use)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "prototypes_per_expert": self.prototypes_per_expert,
            "spare": self.spare,
            "temperature": self.temperature,
        }


def _directions(rows: Any) -> Any:
    """Rows of length 1; a row of zeros stays, and has a finite gradient."""
    return rows * ops.rsqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True) + 1e-12)
