"""AW-MoE: experts weighted by attention over what the user did before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers import MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.models.recommendation.behaviour import Behaviour, kept_at_random
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class AWMoE(Ranker):
    """Mixture of scores whose gate attends over the behaviour sequence.

    With h_j the vector of behaviour j, t that of the candidate, and
    `a(h, t) = MLP([h, t, h - t, h * t])`:

    - the experts read `v = [sum_j a'(h_j, t) h_j, embedding of all fields]` and give a score s_e,
    - the gate is `g = sum_j alpha(h_j, t) u(h_j)`, u (gate unit) to one number an expert and
      alpha (activation unit) to one number; a learned vector where there is no behaviour,
    - the output is `sum_e g_e s_e`.

    The contrastive loss drops behaviours at random and asks that the gate stays nearer to the
    row's own than to those of other users' rows in the batch.

    Source: Gong et al. 2023, "Attention Weighted Mixture of Experts with Contrastive Learning for
    Personalized Ranking in E-commerce", ICDE, arXiv 2306.05011. Interpretation: the abstract names
    the parts; the formulas are ours. Several tasks share experts and behaviour vectors, and have
    scores and gates of their own.

    Args:
        fields, tasks: of `Ranker`; `fields` needs a sequence.
        num_experts: number of experts. Default 8.
        units: hidden widths of each expert. Default (64, 32).
        behaviour: names of the sequences that together are the behaviour, of one length; None
            takes all.
        behaviour_units: length of h and t, and hidden width of the units. Default 32.
        gate_unit: whether the gate has u; without it, only the sum of the alphas. Default True.
        activation_unit: whether the gate has alpha; without it, the mean of u. Default True.
        normalize: "none", or "softmax" of g over the experts.
        contrastive_weight: factor of the contrastive loss; 0 leaves it out. Default 0.05.
        mask_probability: share of behaviours dropped for it. Default 0.3.
        temperature: of the contrastive loss. Default 0.5.
        seed: seed of the dropping.
        **kwargs: of `Ranker`; there are no towers.

    Inputs of a call: as `Ranker`, and in training `user` int32 `(batch,)`, so that rows of one
    user are not contrasted; negative numbers are users unknown, each for itself.

    Example:
        >>> from moe_apps.models.recommendation.field_embedding import Categorical, History
        >>> fields = Fields((), (Categorical("film", 9, 4),), (History("seen", "film", 5),))
        >>> model = AWMoE(fields, [TaskSpec("like")], num_experts=3)
        >>> ones = ops.ones((2, 5), "int32")
        >>> rows = {"categorical": ones[:, :1], "sequence_seen": ones}
        >>> outputs, gates = model.explain(rows)
        >>> tuple(outputs["like"].shape), tuple(gates["like"].shape)
        ((2,), (2, 3))
    """

    extra_inputs = ("user",)

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        num_experts: int = 8,
        units: Sequence[int] = (64, 32),
        behaviour: Sequence[str] | None = None,
        behaviour_units: int = 32,
        gate_unit: bool = True,
        activation_unit: bool = True,
        normalize: str = "none",
        contrastive_weight: float = 0.05,
        mask_probability: float = 0.3,
        temperature: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        if not (gate_unit or activation_unit):
            raise ValueError("`gate_unit` and `activation_unit` cannot both be left out.")
        if normalize not in ("none", "softmax"):
            raise ValueError(f"`normalize` must be 'none' or 'softmax'. Received: {normalize}")
        self.num_experts = num_experts
        self.units = tuple(units)
        self.behaviour = None if behaviour is None else tuple(behaviour)
        self.behaviour_units = behaviour_units
        self.gate_unit = gate_unit
        self.activation_unit = activation_unit
        self.normalize = normalize
        self.contrastive_weight = contrastive_weight
        self.mask_probability = mask_probability
        self.temperature = temperature
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.items = Behaviour(
            self.fields, self.behaviour, behaviour_units, dtype=self.dtype_policy, name="items"
        )
        self.items.build_for(self.embedding)
        self.attention = self._unit("attention", 1, 4 * behaviour_units)
        tasks_and_experts = len(self.tasks) * num_experts
        self.gate_map = (
            self._unit("gate_unit", tasks_and_experts, behaviour_units) if gate_unit else None
        )
        self.activation_map = (
            self._unit("activation_unit", len(self.tasks), 4 * behaviour_units)
            if activation_unit
            else None
        )
        self.experts = ExpertSet(
            MLPExperts(
                num_experts,
                (*self.units, len(self.tasks)),
                output_activation=None,
                dtype=self.dtype_policy,
                name="experts",
            ),
            dtype=self.dtype_policy,
            name="expert_set",
        )
        self.experts.build((None, self.embedding.width + behaviour_units))
        # A gate of 0 would answer every candidate alike.
        self.default_gate = self.add_weight(
            name="default_gate",
            shape=(len(self.tasks), num_experts),
            initializer=keras.initializers.Constant(1 / num_experts),
        )
        self.bias = self.add_weight(
            name="output_bias", shape=(len(self.tasks),), initializer="zeros"
        )
        self.built = True

    def _unit(self, name: str, outputs: int, features: int) -> keras.Sequential:
        unit = keras.Sequential(
            [
                keras.layers.Dense(
                    self.behaviour_units, activation="relu", dtype=self.dtype_policy
                ),
                keras.layers.Dense(outputs, dtype=self.dtype_policy),
            ],
            name=name,
        )
        unit.build((None, None, features))
        return unit

    def explain(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        h, t, mask = self.items(inputs, embedding=self.embedding)  # (batch, length, d), (batch, d)
        pairs = _pairs(h, t)
        attention = self.attention(pairs) * ops.cast(mask, h.dtype)[..., None]
        interest = ops.sum(attention * h, axis=1)
        x = ops.concatenate([interest, self.features(inputs, training)], axis=-1)
        scores = self.experts(x, training=training)  # (batch, experts, tasks)
        gate = self._gate(h, pairs, mask)  # (batch, tasks, experts)
        if training and self.contrastive_weight and "user" in inputs:
            kept = kept_at_random(mask, self.mask_probability, self.seed_generator)
            other = self._gate(h, pairs, kept)
            loss = contrastive_loss(
                gate, other, inputs["user"], ops.any(mask, axis=1), self.temperature
            )
            self.add_loss(self.contrastive_weight * loss)
        logits = ops.sum(gate * ops.transpose(ops.cast(scores, "float32"), (0, 2, 1)), axis=-1)
        logits = logits + ops.cast(self.bias, "float32")
        outputs = {name: logits[:, number] for number, name in enumerate(self.task_names)}
        return outputs, {name: gate[:, number] for number, name in enumerate(self.task_names)}

    def _gate(self, h: Any, pairs: Any, mask: Any) -> Any:
        """`(batch, tasks, experts)` float32."""
        real = ops.cast(mask, "float32")  # (batch, length)
        count = ops.sum(real, axis=1)
        alpha = (
            ops.cast(self.activation_map(pairs), "float32")
            if self.activation_map is not None
            # Without attention every behaviour counts alike.
            else ops.ones((1, 1, len(self.tasks))) / ops.maximum(count, 1.0)[:, None, None]
        )
        alpha = alpha * real[..., None]  # (batch, length, tasks)
        if self.gate_map is None:
            gate = ops.sum(alpha, axis=1)[..., None] * ops.ones((1, 1, self.num_experts))
        else:
            u = ops.cast(self.gate_map(h), "float32")
            u = ops.reshape(u, (-1, h.shape[1], len(self.tasks), self.num_experts))
            gate = ops.einsum("blt,blte->bte", alpha, u)
        default = ops.cast(self.default_gate, "float32")[None]
        gate = ops.where((count > 0)[:, None, None], gate, default)
        return ops.softmax(gate, axis=-1) if self.normalize == "softmax" else gate

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("tower_units")
        own = (
            "num_experts",
            "units",
            "behaviour",
            "behaviour_units",
            "gate_unit",
            "activation_unit",
            "normalize",
            "contrastive_weight",
            "mask_probability",
            "temperature",
            "seed",
        )
        return {**config, **{name: getattr(self, name) for name in own}}


def _pairs(h: Any, t: Any) -> Any:
    """`[h, t, h - t, h * t]` for each behaviour, `(batch, length, 4 d)`."""
    t = t[:, None] + ops.zeros_like(h)
    return ops.concatenate([h, t, h - t, h * t], axis=-1)


def contrastive_loss(gate: Any, other: Any, user: Any, valid: Any, temperature: float) -> Any:
    """InfoNCE of gates: each row's own second gate against the gates of other users' rows.

    Args:
        gate, other: `(batch, tasks, experts)`; their directions are compared.
        user: `(batch,)` integers; rows with the same one, if it is not negative, are no negatives.
        valid: `(batch,)` boolean; rows of which the mean is taken and that serve as negatives.
        temperature: > 0.

    Example:
        >>> gate = ops.array([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> users, valid = ops.array([0, 1]), ops.array([True, True])
        >>> round(float(contrastive_loss(gate, gate, users, valid, 1.0)), 4)  # log(1 + e^-1)
        0.3133
    """
    rows = ops.shape(gate)[0]
    # The norm's gradient at 0 is NaN.
    g, o = (_directions(ops.reshape(one, (rows, -1))) for one in (gate, other))
    positive = ops.sum(g * o, axis=-1, keepdims=True) / temperature
    negatives = ops.matmul(g, ops.transpose(g)) / temperature
    place = ops.arange(rows)
    same = ops.logical_or(
        ops.equal(place[:, None], place[None, :]),
        ops.logical_and(ops.equal(user[:, None], user[None, :]), (user >= 0)[:, None]),
    )
    left_out = ops.logical_or(same, ops.logical_not(valid)[None, :])
    negatives = ops.where(left_out, -1e9, negatives)
    losses = ops.logsumexp(ops.concatenate([positive, negatives], axis=-1), axis=-1)
    losses = losses - positive[:, 0]
    real = ops.cast(valid, "float32")
    return ops.sum(losses * real) / ops.maximum(ops.sum(real), 1.0)


def _directions(x: Any) -> Any:
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-12)
