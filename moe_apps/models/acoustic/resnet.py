"""Residual networks of images with one channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from moe_apps.models.acoustic.attention_pooling import AttentionPooling

POOLINGS = ("average", "attention", "time")


def resnet(
    image: Any,
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks: Sequence[int] = (2, 2, 2, 2),
    stem_kernel: int = 7,
    stem_pool: bool = True,
    pooling: str = "average",
    dtype: Any = None,
) -> Any:
    """Vectors `(batch, n)` of images, by a residual network of basic blocks.

    The defaults are ResNet-18 with one input channel. Every stage but the first halves time and
    frequency, and so does the stem.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", CVPR, arXiv 1512.03385.

    Args:
        image: symbolic tensor `(batch, time, frequency, 1)`.
        widths: channels of each stage.
        blocks: basic blocks of each stage.
        stem_kernel: size of the first convolution, which has a stride of 2.
        stem_pool: a maximum over 3x3 with a stride of 2 after it.
        pooling: "average" over all positions; "attention" (see `AttentionPooling`); "time", an
            average over time that keeps frequencies apart, `widths[-1]` numbers for each.
        dtype: policy of the layers.

    Example:
        >>> import keras
        >>> image = keras.Input((99, 64, 1))
        >>> keras.Model(image, resnet(image)).count_params()
        11179840
    """
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}. Received: {pooling!r}")
    x = _convolved(image, widths[0], stem_kernel, 2, "stem", dtype)
    x = layers.ReLU(dtype=dtype, name="stem_relu")(x)
    if stem_pool:
        x = layers.MaxPooling2D(3, 2, "same", dtype=dtype, name="stem_pool")(x)
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            x = _basic_block(x, width, stride, f"stage{stage + 1}_block{block + 1}", dtype)
    if pooling == "time":
        x = layers.AveragePooling2D((x.shape[1], 1), dtype=dtype, name="pooling")(x)
        return layers.Flatten(dtype=dtype, name="frequencies")(x)
    if pooling == "average":
        return layers.GlobalAveragePooling2D(dtype=dtype, name="pooling")(x)
    return AttentionPooling(max(widths[-1] // 4, 8), dtype=dtype, name="pooling")(x)


def _basic_block(x: Any, width: int, stride: int, name: str, dtype: Any) -> Any:
    y = _convolved(x, width, 3, stride, f"{name}_1", dtype)
    y = layers.ReLU(dtype=dtype, name=f"{name}_relu")(y)
    y = _convolved(y, width, 3, 1, f"{name}_2", dtype)
    if stride > 1 or x.shape[-1] != width:
        x = _convolved(x, width, 1, stride, f"{name}_shortcut", dtype)
    return layers.ReLU(dtype=dtype, name=name)(layers.Add(dtype=dtype, name=f"{name}_sum")([x, y]))


def _convolved(x: Any, width: int, kernel: int, stride: int, name: str, dtype: Any) -> Any:
    x = layers.Conv2D(
        width,
        kernel,
        stride,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=dtype,
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype, name=f"{name}_norm")(
        x
    )
