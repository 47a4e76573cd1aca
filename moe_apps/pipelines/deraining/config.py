"""Settings of a deraining run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.train_settings import TrainSettings

Kind = Literal["streaks", "drops", "snow", "haze", "accumulation"]
Level = Literal["light", "medium", "heavy"]


class DataSettings(Settings):
    """Which pairs, how they are found and split, or which weather is made.

    Attributes:
        path: Folder of pairs, or a .txt file with two paths a line; None for the sample data.
        layout: How pairs lie in the folder; auto finds all but side_by_side.
        clean_side: Side of the clean image in layout side_by_side.
        strict: A pair that cannot be read is an error, in place of a warning.
        validation_fraction: Share of the clean images for validation, where folders do not say.
        test_fraction: Share of the clean images for test, where folders do not say.
        max_megapixels: Largest image that is opened.
        cache_megabytes: Memory for unpacked training images; beyond it they are read each time.
        protocol: A, B or C (see docs/deraining.md); auto takes B for DID and DDN data, C for
            All-Weather data, by the folder's name, and A for all else.
        kinds: Kinds of weather that the sample data have.
        levels: Levels of weather that the sample data have.
        test_size: Height and width of the sample data's test images.
    """

    path: str | None = None
    layout: Literal["auto", "folders", "one_folder", "side_by_side", "list"] = "auto"
    clean_side: Literal["left", "right"] = "left"
    strict: bool = False
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    max_megapixels: float = Field(default=100.0, gt=0, le=10_000)
    cache_megabytes: int = Field(default=1000, ge=0)
    protocol: Literal["auto", "A", "B", "C"] = "auto"
    kinds: tuple[Kind, ...] = ("streaks", "snow")
    levels: tuple[Level, ...] = ("light", "medium", "heavy")
    test_size: int = Field(default=160, ge=16)

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        if not self.kinds or not self.levels:
            raise ValueError("kinds and levels must not be empty")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction must leave some for training")
        return self


class ModelSettings(Settings):
    """The model; a size that is given overrides the preset's.

    Attributes:
        name: The system.
        preset: Named sizes: tiny, mini, small, medium, large, full (the paper's) of drsformer;
            tiny, small, full of mofme.
        width: drsformer: channels of the first level.
        blocks: drsformer: blocks of the three levels and of the bottleneck.
        compensator: drsformer: have the mixture of experts at either end.
        k: drsformer: operations with a weight in each step (None: all, as published);
            mofme: experts a patch (None: 2).
        spatial_gate: drsformer, ours: weigh operations by place, not by image.
        cross_scale: drsformer, ours: mix the two scales inside the feed-forward layers.
        width_multiple: drsformer, ours: round hidden widths up to a multiple.
        balance_loss_weight: Factor of the balance loss of the gates; 0 as published.
        experts: mofme: modulation, or ffn for the ordinary mixture.
        num_experts: mofme: experts in a layer.
        router: mofme: name of a registered router.
        residual: mofme: add the output to the image; false makes it anew, as published.
    """

    name: Literal["drsformer", "mofme"] = "drsformer"
    preset: Literal["tiny", "mini", "small", "medium", "large", "full"] = "tiny"
    width: int | None = Field(default=None, ge=1)
    blocks: tuple[int, int, int, int] | None = None
    compensator: bool = True
    k: int | None = Field(default=None, ge=1)
    spatial_gate: bool = False
    cross_scale: bool = False
    width_multiple: int = Field(default=1, ge=1)
    balance_loss_weight: float = Field(default=0.0, ge=0)
    experts: Literal["modulation", "ffn"] = "modulation"
    num_experts: int = Field(default=8, ge=1)
    router: str = "uncertainty_aware"
    residual: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        if self.name == "mofme":
            if self.preset not in ("tiny", "small", "full"):
                raise ValueError(f"mofme has the presets tiny, small, full; not {self.preset}")
            if (self.k or 2) > self.num_experts:
                raise ValueError(f"k is {self.k or 2}, but num_experts is {self.num_experts}")
        elif self.k is not None and self.k > 8:
            raise ValueError(f"k is {self.k}, but drsformer has 8 operations")
        return self


class DerainingTrainSettings(TrainSettings):
    """Training settings, and what a training example is.

    Attributes:
        patch: Side of the square patches, a multiple of 8.
        augment: Turn and mirror patches (eight ways).
        loss: Error of pixels: psnr (of each image), l1, charbonnier or smooth_l1.
        edge: Factor of the error of edges.
        fft: Factor of the error of the Fourier transform.
    """

    epochs: int = Field(default=8, ge=1, le=100_000)
    steps_per_epoch: int | None = Field(default=60, ge=1)
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    clip_norm: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.98, ge=0, lt=1)
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    patch: int = Field(default=48, ge=8, multiple_of=8)
    augment: bool = True
    loss: Literal["psnr", "l1", "charbonnier", "smooth_l1"] = "psnr"
    edge: float = Field(default=0.0, ge=0)
    fft: float = Field(default=0.0, ge=0)


class EvaluationSettings(Settings):
    """How a model is judged.

    Attributes:
        dense_twin: Also train the same network without gates or routers.
        u_net: Also train a plain U-Net of equal size.
        classical: Also judge median, bilateral and guided filters.
        validation_images: At most so many images are restored after each epoch.
    """

    dense_twin: bool = True
    u_net: bool = True
    classical: bool = True
    validation_images: int = Field(default=24, ge=1)


class PredictionSettings(Settings):
    """How images of any size are restored.

    Attributes:
        tile: Side of the square tiles, a multiple of 8.
        overlap: Pixels that neighbouring tiles share, blended smoothly.
        whole_megapixels: Images up to this size go through the model in one piece.
        sheet: Also write a page with input and result side by side.
        suffix: Format of results in a folder: png keeps all, or the input's own ("same").
    """

    tile: int = Field(default=256, ge=32, multiple_of=8)
    overlap: int = Field(default=48, ge=0)
    whole_megapixels: float = Field(default=0.3, ge=0)
    sheet: bool = False
    suffix: Literal["png", "same"] = "png"

    @model_validator(mode="after")
    def _consistent(self) -> PredictionSettings:
        if 2 * self.overlap > self.tile:
            raise ValueError(f"overlap is {self.overlap}, more than half the tile of {self.tile}")
        return self


class DerainingConfig(RunConfig):
    """All settings of a deraining run.

    Example:
        >>> DerainingConfig(domain="deraining").train.patch
        48
    """

    domain: str = "deraining"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: DerainingTrainSettings = DerainingTrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    prediction: PredictionSettings = PredictionSettings()
