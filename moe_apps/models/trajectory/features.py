"""From positions in metres to what a network reads, and back."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.models.trajectory.tasks import NEIGHBOURS

FAR = 100.0
"""Metres at which a neighbour that is not there is put: ahead, or behind for every second place."""
SPEED_CLASSES = 3.0, 12.0, 22.0
"""Bounds in m/s of standing, city, arterial and motorway traffic."""
LONG_VEHICLE = 7.0
FARTHEST_OFFSET = 100.0
UNKNOWN_OFFSET = 1000.0
"""Stands for an unknown lane offset where NaN cannot be sent, as in JSON."""

FEATURES = (
    *("ego_x", "ego_y", "v_x", "v_y", "a_x", "a_y", "heading_error"),
    *("lane_offset", "lane_known", "left_lane", "right_lane", "length"),
    *(f"{name}_{i}" for name in ("x", "y", "v_x") for i in range(NEIGHBOURS)),
    *(f"present_{i}" for i in range(NEIGHBOURS)),
)


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TrackFeatures(keras.layers.Layer):
    """Features of every step, from positions up to that step alone, each with mean 0 and spread 1.

    Velocities are backward differences, so that step t reads nothing after t; the first step, which
    has nothing before it, gets the second one's. The means and deviations are weights that
    `set_statistics` fills in.

    Args:
        rate: steps a second.

    Call arguments:
        inputs: dict of

            - `ego` `(batch, time, 2)`: along and across (left positive), metres;
            - `neighbours` `(batch, time, 6, 2)`: the same of up to six neighbours, the even places
              ahead and the odd ones behind; anything where one is absent;
            - `present` `(batch, time, 6)`: 1 where it is there, else 0;
            - `lane_offset` `(batch, time)`: metres left of the lane's centre; NaN, or any beyond
              100 such as `UNKNOWN_OFFSET`, is unknown;
            - `lanes_beside` `(batch, time, 2)`: 1 where there is a lane to the left, to the right;
            - `length` `(batch,)`: of the vehicle; NaN or 0 unknown.

    Returns:
        `(batch, time, len(FEATURES))`.

    Example:
        >>> layer = TrackFeatures(rate=5.0)
        >>> track = {
        ...     "ego": ops.zeros((1, 4, 2)), "neighbours": ops.zeros((1, 4, 6, 2)),
        ...     "present": ops.zeros((1, 4, 6)), "lane_offset": ops.zeros((1, 4)),
        ...     "lanes_beside": ops.ones((1, 4, 2)), "length": ops.ones((1,)),
        ... }
        >>> tuple(layer(track).shape)
        (1, 4, 36)
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"  # differences of positions lose too much in half precision
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, input_shape: Any = None) -> None:
        size = (len(FEATURES),)
        self.mean = self.add_weight(name="mean", shape=size, initializer="zeros", trainable=False)
        self.deviation = self.add_weight(
            name="deviation", shape=size, initializer="ones", trainable=False
        )
        self.built = True

    def set_statistics(self, mean: Any, deviation: Any) -> None:
        """Set mean and standard deviation `(len(FEATURES),)` of the raw features."""
        self.mean.assign(mean)
        self.deviation.assign(ops.maximum(deviation, 1e-3))

    def call(self, inputs: dict[str, Any]) -> Any:
        return (self.raw(inputs) - self.mean) / self.deviation

    def raw(self, inputs: dict[str, Any]) -> Any:
        """Features `(batch, time, len(FEATURES))` in metres and seconds."""
        ego = inputs["ego"]
        places = ego - ego[:, -1:]
        velocity = self._change(ego)
        acceleration = self._change(velocity)
        # Standing vehicles have no heading: the floor keeps their angle small.
        heading = ops.arctan2(velocity[..., 1:], ops.maximum(velocity[..., :1], 1.0))
        offset = inputs["lane_offset"][..., None]
        known = ops.abs(offset) < FARTHEST_OFFSET  # false for NaN
        length = ops.broadcast_to(inputs["length"][:, None, None], ops.shape(offset))
        present = inputs["present"]
        there = present > 0.5
        others = ops.where(there[..., None], inputs["neighbours"], ego[:, :, None])
        relative = others - ego[:, :, None]  # (batch, time, 6, 2)
        # A neighbour that has just appeared has no velocity yet.
        still = ops.logical_and(there, self._before(there))
        closing = ops.where(still, self._change(relative[..., 0]), 0.0)
        away = ops.convert_to_tensor([FAR, -FAR] * (NEIGHBOURS // 2), "float32")
        return ops.concatenate(
            [
                places,
                velocity,
                acceleration,
                heading,
                ops.where(known, offset, 0.0),
                ops.cast(known, "float32"),
                inputs["lanes_beside"],
                ops.where(length > 0, length, 0.0),
                ops.where(there, relative[..., 0], away),
                relative[..., 1],
                closing,
                ops.cast(there, "float32"),
            ],
            axis=-1,
        )

    def _change(self, values: Any) -> Any:
        steps = (values[:, 1:] - values[:, :-1]) * self.rate
        return ops.concatenate([steps[:, :1], steps], axis=1)

    def _before(self, there: Any) -> Any:
        return ops.concatenate([there[:, 1:2], there[:, :-1]], axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape["ego"][:2], len(FEATURES))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


def constant_velocity(ego: Any, rate: float, span: int, horizon: int) -> Any:
    """Way at the mean velocity of the last `span` steps.

    Args:
        ego: `(batch, time, 2)`.
        rate: steps a second.
        span: steps, less than `time`.
        horizon: steps ahead.

    Returns:
        `(batch, horizon, 2)` from the last position on.

    Example:
        >>> way = constant_velocity(ops.array([[[0.0, 0.0], [1.0, 0.5]]]), 5.0, span=1, horizon=2)
        >>> way[0].numpy().tolist() if hasattr(way[0], "numpy") else way[0].tolist()
        [[1.0, 0.5], [2.0, 1.0]]
    """
    step = (ego[:, -1] - ego[:, -1 - span]) / span
    return step[:, None] * ops.arange(1, horizon + 1, dtype="float32")[None, :, None]


def surroundings(inputs: dict[str, Any], rate: float, span: int) -> Any:
    """What kind of traffic a vehicle is in, for a gate that is to know it.

    Returns:
        `(batch, 7)`: share of the six places that are taken, one of four speed classes, and
        whether the vehicle is long, and whether that is known.
    """
    ego, length = inputs["ego"], inputs["length"][:, None]
    speed = ops.abs(ego[:, -1, 0] - ego[:, -1 - span, 0]) * (rate / span)
    bounds = ops.convert_to_tensor(SPEED_CLASSES, "float32")
    above = ops.sum(ops.cast(speed[:, None] > bounds, "int32"), axis=1)
    return ops.concatenate(
        [
            ops.mean(inputs["present"][:, -1], axis=-1, keepdims=True),
            ops.one_hot(above, len(SPEED_CLASSES) + 1),
            ops.cast(length > LONG_VEHICLE, "float32"),
            ops.cast(length > 0, "float32"),
        ],
        axis=-1,
    )


SURROUNDINGS = 7
