"""Settings of the model, and which systems have them."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from moe_apps.pipelines.config import Settings

QUANTILES = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
"""What intervals of 80 and 95 %, and a CRPS, are read from."""

ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("preset", "num_layers", "num_heads"), ("time_moe", "mohets")),
    **dict.fromkeys(("hidden_dim", "intermediate_dim"), ("time_moe", "mohets")),
    **dict.fromkeys(("horizon_lengths", "rope_theta", "normalize"), ("time_moe",)),
    **dict.fromkeys(("balance_form", "router", "experts"), ("time_moe",)),
    **dict.fromkeys(("rank", "gate_dim", "train_shared", "loss"), ("linear_moe",)),
    **dict.fromkeys(("num_key_heads", "patch", "dropout", "drop_path"), ("mohets",)),
    **dict.fromkeys(("scaled_init", "one_shot", "weight_behind"), ("mohets",)),
    **dict.fromkeys(("head", "quantiles"), ("mohets", "linear_moe")),
}
"""Settings of the model that only some systems have."""


class ModelSettings(Settings):
    """The model; a size that is given overrides the preset's.

    What only some systems have is named with them; the others refuse another value than the
    default.

    Attributes:
        name: The system.
        preset: Named sizes: tiny, small (two CPU cores), base, large, ultra (the paper's).
        num_layers: Decoder blocks.
        num_heads: Attention heads.
        hidden_dim: Width.
        intermediate_dim: Hidden width of the shared unit; a routed one has this divided by k.
        num_experts: Routed experts.
        k: Routed experts per point.
        horizon_lengths: Lengths of the forecast heads, with 1 among them.
        rope_theta: Base of the rotary positions; None takes 10000 for the paper's sizes, and for
            tiny and small the base that makes one of the frequencies the season.
        normalize: Scale each window by its own history; the published benchmark runs do not.
        balance_loss_weight: Factor of the balance loss.
        balance_form: "paper" (1 at balance, by layer) or "code" (k at balance, pooled).
        router: Name of a registered router.
        experts: Name of a registered expert bank.
        dispatch: dropless, capacity or dense.
        rank: Rank of a linear expert, of linear_moe.
        gate_dim: Width of the gate's hidden layer, of linear_moe.
        train_shared: Train the linear forecast that linear_moe starts from further.
        loss: Training error of linear_moe: squared, absolute or huber.
        num_key_heads: Key and value heads, of mohets.
        patch: Steps of a token, of mohets; the look-back is a multiple of it.
        dropout: Rate of dropout, of mohets.
        drop_path: Rate at which branches of the last block are dropped, of mohets.
        scaled_init: Smaller first weights of the Fourier experts of mohets than its code has.
        one_shot: Let mohets forecast the horizon at once instead of 24 steps at a time.
        weight_behind: Weight of the steps of mohets' target that its input shows already.
        head: What mohets and linear_moe say of a step: point (a value), quantile (quantiles, by
            pinball loss) or student_t (a distribution, by its likelihood).
        quantiles: Quantiles of the head quantile, ascending, 0.5 among them.
    """

    # Both names: what the model is, is asked for in either way.
    name: Literal["time_moe", "mohets", "linear_moe"] = Field(
        default="time_moe", validation_alias=AliasChoices("name", "system")
    )
    preset: Literal["tiny", "small", "base", "large", "ultra"] = "tiny"
    num_layers: int | None = Field(default=None, ge=1)
    num_heads: int | None = Field(default=None, ge=1)
    hidden_dim: int | None = Field(default=None, ge=2)
    intermediate_dim: int | None = Field(default=None, ge=1)
    num_experts: int = Field(default=8, ge=1)
    k: int = Field(default=2, ge=1)
    horizon_lengths: tuple[int, ...] = (1, 8, 32, 64)
    rope_theta: float | None = Field(default=None, gt=1)
    normalize: bool = True
    balance_loss_weight: float = Field(default=0.02, ge=0)
    balance_form: Literal["paper", "code"] = "paper"
    router: str = "top_k"
    experts: str = "swiglu"
    dispatch: Literal["dropless", "capacity", "dense"] = "dropless"
    rank: int = Field(default=8, ge=1)
    gate_dim: int = Field(default=16, ge=1)
    train_shared: bool = True
    loss: Literal["squared", "absolute", "huber"] = "squared"
    num_key_heads: int | None = Field(default=None, ge=1)
    patch: int | None = Field(default=None, ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    drop_path: float = Field(default=0.3, ge=0, lt=1)
    scaled_init: bool = False
    one_shot: bool = False
    weight_behind: float = Field(default=1.0, ge=0)
    head: Literal["point", "quantile", "student_t"] = "point"
    quantiles: tuple[float, ...] = QUANTILES

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        if 1 not in self.horizon_lengths or min(self.horizon_lengths) < 1:
            raise ValueError("horizon_lengths must be positive and include 1")
        if self.k > self.num_experts:
            raise ValueError(f"k is {self.k}, but num_experts is {self.num_experts}")
        for setting, systems in ONLY.items():
            value = getattr(self, setting)
            if self.name not in systems and value != type(self).model_fields[setting].default:
                raise ValueError(
                    f"{self.name} has no setting {setting} (given as {value}); it is of "
                    f"{' and '.join(systems)}"
                )
        own = {"quantiles": "quantile", "loss": "point"}
        for setting, head in own.items():
            value = getattr(self, setting)
            if self.head != head and value != type(self).model_fields[setting].default:
                raise ValueError(
                    f"{setting} (given as {value}) is of head {head}; head is {self.head}"
                )
        inside = all(0 < one < 1 for one in self.quantiles)
        ascending = list(self.quantiles) == sorted({*self.quantiles})
        if not (inside and ascending and 0.5 in self.quantiles and len(self.quantiles) > 1):
            raise ValueError(
                "quantiles must ascend between 0 and 1, with 0.5 among them; found "
                f"{', '.join(map(str, self.quantiles))}"
            )
        return self
