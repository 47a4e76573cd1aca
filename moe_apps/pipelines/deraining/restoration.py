"""Models with the calls that a pipeline needs: built, compiled, and restoring whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError
from moe_apps.models.deraining import (
    DRSformerBackbone,
    MoFMEBackbone,
    RestorationLoss,
    Restorer,
    UNetBackbone,
)
from moe_apps.pipelines.deraining.config import DerainingConfig, PredictionSettings
from moe_apps.pipelines.deraining.examples import Image
from moe_apps.pipelines.deraining.metrics import to_8_bit
from moe_apps.pipelines.deraining.tiling import as_unit, padded, restore_tiled, tile_count
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.optimisation import compile_model, precision, strategy_scope

Role = Literal["model", "dense_twin", "u_net"]
FloatArray = npt.NDArray[np.float32]


def build_model(config: DerainingConfig, role: Role = "model") -> Restorer:
    """The model that the settings describe, or one it is compared with, with fresh weights.

    Args:
        config: the settings.
        role: "dense_twin" has no gates: equal weights for all operations (drsformer), or one
            feed-forward network as large as the active experts (mofme). "u_net" has at least as
            many parameters as the model.

    Raises:
        ConfigError: sizes that do not go together.
    """
    try:
        with strategy_scope(config.train):
            if role == "u_net":
                size = _backbone(config, "model").count_params()
                return Restorer(UNetBackbone.of_size(size, dtype=precision(config.train)))
            return Restorer(_backbone(config, role))
    except ValueError as error:
        raise ConfigError(f"model: {str(error).splitlines()[0]}") from error


def _backbone(config: DerainingConfig, role: Role) -> keras.Model:
    settings = config.model
    dense = role == "dense_twin"
    common: dict[str, Any] = {
        "balance_loss_weight": 0.0 if dense else settings.balance_loss_weight,
        "dtype": precision(config.train),
    }
    if settings.name == "mofme":
        return MoFMEBackbone.from_preset(
            settings.preset,
            experts="dense" if dense else settings.experts,
            num_experts=settings.num_experts,
            k=settings.k or 2,
            router=settings.router,
            residual=settings.residual,
            **common,
        )
    sizes = {
        name: value
        for name in ("width", "blocks")
        if (value := getattr(settings, name)) is not None
    }
    return DRSformerBackbone.from_preset(
        settings.preset,
        compensator=settings.compensator,
        k=None if dense else settings.k,
        spatial=settings.spatial_gate and not dense,
        gated=not dense,
        cross_scale=settings.cross_scale,
        multiple=settings.width_multiple,
        **common,
        **sizes,
    )


def has_dense_twin(config: DerainingConfig) -> bool:
    """Whether the model has gates or routers that a twin could lack."""
    return config.model.name == "mofme" or config.model.compensator


def compile_restorer(model: Restorer, config: DerainingConfig, batches_per_epoch: int) -> None:
    """Compile with the loss of the settings."""
    settings = config.train
    compile_model(
        model,
        settings,
        loss=RestorationLoss(settings.loss, settings.edge, settings.fft),
        total_steps=settings.epochs * batches_per_epoch,
    )


class ImageRestorer:
    """Restores images of any size with a model, whole where they are small, else in tiles.

    Tiles of a large image get the gates of the whole image, found on a version of it that is
    reduced to `whole_megapixels`. Every shape that occurs is compiled once.

    Args:
        model: the trained model.
        settings: tile, overlap, and what counts as small.

    Example:
        >>> restorer = ImageRestorer(model, PredictionSettings())  # doctest: +SKIP
        >>> restorer.restore(image).shape  # doctest: +SKIP
        (427, 640, 3)
    """

    def __init__(self, model: Restorer, settings: PredictionSettings) -> None:
        self.model = model
        self.settings = settings
        self._restore = in_batches(model, model.restore, 1)
        self._explain = in_batches(model, model.explain, 1)

    def restore(
        self, image: npt.NDArray[Any], on_tile: Callable[[], None] | None = None
    ) -> FloatArray:
        """The restored image `[height, width, 3]` in [0, 1].

        Args:
            image: `[height, width, 3]` uint8, uint16, or float in [0, 1].
            on_tile: called after each tile.
        """
        if self.tiles(image) == 1 and self._is_small(image):
            height, width = image.shape[:2]
            whole = padded(as_unit(image), self.model.multiple_of)[None]
            answer = self._restore(whole, None)[0, :height, :width]
            if on_tile:
                on_tile()
            return np.asarray(answer)
        return restore_tiled(
            image,
            self._restore,
            tile=self.settings.tile,
            overlap=self.settings.overlap,
            multiple=self.model.multiple_of,
            routing=self.whole_routing(image),
            on_tile=on_tile,
        )

    def explain(self, image: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """`restored` and, without a batch axis, `routing` and `uncertainty` of an image.

        The image goes through in one piece.
        """
        height, width = image.shape[:2]
        whole = padded(as_unit(image), self.model.multiple_of)[None]
        found = {name: value[0] for name, value in self._explain(whole).items()}
        return {**found, "restored": found["restored"][:height, :width]}

    def tiles(self, image: npt.NDArray[Any]) -> int:
        """Number of tiles that the image takes."""
        if self._is_small(image):
            return 1
        settings = self.settings
        return tile_count(image.shape[0], image.shape[1], settings.tile, settings.overlap)

    def whole_routing(self, image: npt.NDArray[Any]) -> FloatArray | None:
        """Gates of the whole image for its tiles, or None where routing is local or absent."""
        backbone = self.model.backbone
        if getattr(backbone, "compensator", False) and not backbone.spatial and backbone.gated:
            return np.asarray(self._explain(self._reduced(image)[None])["routing"], np.float32)
        return None

    def _is_small(self, image: npt.NDArray[Any]) -> bool:
        return image.shape[0] * image.shape[1] <= self.settings.whole_megapixels * 1e6

    def _reduced(self, image: npt.NDArray[Any]) -> FloatArray:
        """A part of the image in each cell of a grid, joined: sharp, unlike a shrunk image.

        Shrinking would blur away the rain that the gates look at, so patches of full sharpness,
        spread evenly over the image, stand for it.
        """
        side, multiple = 64, self.model.multiple_of
        budget = max(int(self.settings.whole_megapixels * 1e6), side * side)
        height, width = image.shape[:2]
        rows, columns = max(height // side, 1), max(width // side, 1)
        while rows * columns * side * side > budget and rows * columns > 1:
            if rows >= columns:
                rows -= 1
            else:
                columns -= 1
        tops = np.linspace(0, max(height - side, 0), rows).round().astype(int)
        lefts = np.linspace(0, max(width - side, 0), columns).round().astype(int)
        joined = np.concatenate(
            [
                np.concatenate(
                    [as_unit(image[top : top + side, left : left + side]) for left in lefts], axis=1
                )
                for top in tops
            ]
        )
        return padded(joined, multiple)


def answers(restorer: ImageRestorer) -> Callable[[Image], Image]:
    """The restorer as a function of 8-bit images."""
    return lambda image: to_8_bit(restorer.restore(image))


def validation_psnr(
    restorer: ImageRestorer, examples: Sequence[Any], protocol: str
) -> dict[str, float]:
    """Mean PSNR and absolute error of restored examples, for the end of an epoch."""
    from moe_apps.pipelines.deraining.metrics import psnr

    answer = answers(restorer)
    results = [(answer(example.rainy), example.clean) for example in examples]
    values = [psnr(result, clean, protocol) for result, clean in results]
    errors = [np.abs(result.astype(float) - clean).mean() / 255 for result, clean in results]
    finite = [value for value in values if np.isfinite(value)] or [100.0]
    return {"val_psnr": float(np.mean(finite)), "val_l1": float(np.mean(errors))}
