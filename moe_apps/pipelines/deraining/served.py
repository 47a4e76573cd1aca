"""What a trained restorer answers with once it is exported: 8-bit images in, 8-bit images out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from moe_apps.models.deraining import Restorer
from moe_apps.pipelines.domain import Served

RULES = (
    "Images may have any size; all of a batch have the same. Sides are mirrored to multiples of 8 "
    "and cut back.",
    "An image goes through in one piece: memory grows with its area. Cut large images into tiles, "
    "as `moe-apps predict` does.",
    "Encoded images are PNG, JPEG, BMP or GIF (first frame); grey becomes RGB, alpha is dropped, "
    "16 bits are rounded to 8, and EXIF orientation is not applied.",
    "An image's answer does not depend on the others in its batch.",
)
INPUTS = {
    "images": "[batch, height, width, 3] uint8, RGB",
    "encoded": "string scalar, the bytes of an image file; only in `encoded_image`",
}


def served_restorer(
    model: Restorer, *, image_example: npt.NDArray[np.uint8], card: Mapping[str, Any]
) -> Served:
    """Join a model with padding and rounding, as functions of TensorFlow tensors.

    `serving_default(images)` gives `restored`; `encoded_image(encoded)` does so for the bytes of
    one file, and gives the result as PNG bytes too; `explain(images)` adds `expert_weights` and,
    where the router knows it, `uncertainty`.

    Args:
        model: the trained restorer.
        image_example: `[height, width, 3]` uint8.
        card: facts for people; inputs, outputs and rules are added.
    """
    images_input = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    encoded_input = tf.TensorSpec((), tf.string, name="encoded")

    def answer(images: Any, explained: bool) -> dict[str, Any]:
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        unit = tf.cast(images, tf.float32) / 255.0
        unit = mirrored(mirrored(unit, 1, model.multiple_of), 2, model.multiple_of)
        outputs = model.explain(unit) if explained else {"restored": model.restore(unit)}
        restored = outputs["restored"][:, :height, :width]
        restored = tf.cast(tf.floor(restored * 255.0 + 0.5), tf.uint8)
        found = {"restored": tf.ensure_shape(restored, (None, None, None, 3))}
        if "routing" in outputs:
            found["expert_weights"] = outputs["routing"]
        if "uncertainty" in outputs:
            found["uncertainty"] = outputs["uncertainty"]
        return found

    @tf.function(input_signature=[images_input], autograph=False)
    def serving_default(images: Any) -> dict[str, Any]:
        return answer(_checked(images), False)

    @tf.function(input_signature=[encoded_input], autograph=False)
    def encoded_image(encoded: Any) -> dict[str, Any]:
        decoded = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        decoded = tf.ensure_shape(decoded, (None, None, 3))
        restored = answer(_checked(decoded[None]), False)["restored"][0]
        return {"restored": restored, "png": tf.io.encode_png(restored)}

    @tf.function(input_signature=[images_input], autograph=False)
    def explain(images: Any) -> dict[str, Any]:
        return answer(_checked(images), True)

    outputs = {
        "restored": "uint8, as images; [height, width, 3] in encoded_image",
        "png": "string scalar in encoded_image: the restored image as a PNG file",
    }
    if hasattr(model.backbone, "router"):
        outputs["expert_weights"] = (
            "[batch, height / 8, width / 8, layers, experts] float32, in explain; 0: not chosen"
        )
        outputs["uncertainty"] = (
            "[batch, height / 8, width / 8] float32, in explain: variance of the router's logits"
        )
    elif getattr(model.backbone, "compensator", False):
        outputs["expert_weights"] = (
            "[batch, layers, operations] float32, in explain: steps of the front compensator, "
            "then of the rear one"
        )
    return Served(
        model,
        {"serving_default": serving_default, "encoded_image": encoded_image, "explain": explain},
        {"images": image_example[None]},
        {**card, "inputs": INPUTS, "outputs": outputs, "rules": RULES},
    )


def mirrored(images: Any, axis: int, multiple: int) -> Any:
    """Images mirrored beyond the end of an axis to a multiple of a number, whatever their size.

    Pixel i is taken from where a reflection without repeated ends puts it, so an image smaller
    than what is missing is mirrored again and again, and one pixel is repeated.

    Example:
        >>> mirrored(tf.constant([[1.0, 2.0, 3.0]]), 1, 8).numpy().tolist()
        [[1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]
    """
    side = tf.shape(images)[axis]
    length = -(-side // multiple) * multiple
    period = tf.maximum(2 * (side - 1), 1)
    place = tf.range(length) % period
    return tf.gather(images, tf.minimum(place, period - place), axis=axis)


def _checked(images: Any) -> Any:
    check = tf.debugging.assert_greater_equal(
        tf.size(images), 1, "images must have at least 1 image and 1 pixel"
    )
    with tf.control_dependencies([check]):
        return tf.identity(images)
