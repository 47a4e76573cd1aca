from __future__ import annotations

import numpy as np
import tensorflow as tf

from moe_apps.models.deraining import MoFMEBackbone, Restorer
from moe_apps.pipelines.deraining.served import mirrored, served_restorer
from moe_apps.pipelines.deraining.tiling import padded


def test_mirroring_in_the_graph_is_that_of_arrays():
    for size in ((1, 1), (7, 5), (3, 17), (8, 16)):
        image = np.random.default_rng(0).random((*size, 3))
        found = mirrored(mirrored(tf.constant(image[None]), 1, 8), 2, 8)[0].numpy()
        np.testing.assert_array_equal(found, padded(image, 8))


def test_mofme_explains_experts_and_uncertainty_by_place(draw):
    model = Restorer(
        MoFMEBackbone(
            head_channels=4,
            token_dim=8,
            num_heads=2,
            head_dim=4,
            tail_channels=(4, 4),
            num_experts=4,
            num_layers=1,
        )
    )
    for variable in model.trainable_variables:
        if variable.path.endswith("output/kernel"):  # it starts at 0, where no input matters
            variable.assign(0.1 * np.random.default_rng(0).normal(size=variable.shape))
    served = served_restorer(model, image_example=draw(), card={"system": "mofme"})
    answer = served.signatures["explain"](tf.constant(draw()[None]))
    assert answer["expert_weights"].shape == (1, 3, 4, 1, 4)
    assert answer["uncertainty"].shape == (1, 3, 4)
    assert set(served.card["outputs"]) == {"restored", "png", "expert_weights", "uncertainty"}
    one = served.signatures["serving_default"](tf.constant(np.stack([draw(), draw(1)])))
    np.testing.assert_array_equal(one["restored"][0], answer["restored"][0])
