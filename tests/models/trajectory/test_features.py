from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.models.trajectory.features import (
    FAR,
    FEATURES,
    SURROUNDINGS,
    UNKNOWN_OFFSET,
    TrackFeatures,
    constant_velocity,
    surroundings,
)


def raw(inputs: dict[str, np.ndarray], rate: float = 5.0) -> dict[str, np.ndarray]:
    """Features by name, `[rows, steps]`."""
    layer = TrackFeatures(rate)
    layer.build()
    values = array(layer.raw(inputs))
    return {name: values[..., number] for number, name in enumerate(FEATURES)}


def test_motion_of_a_vehicle_by_hand(tracks):
    inputs = tracks(1)
    inputs["ego"] = np.array([[[0, 0], [2, 0], [6, 0.2], [12, 0.6]]], "float32")
    for name in ("neighbours", "present", "lane_offset", "lanes_beside"):
        inputs[name] = inputs[name][:, :4]
    found = raw(inputs)
    np.testing.assert_allclose(found["ego_x"], [[-12, -10, -6, 0]], atol=1e-5)
    np.testing.assert_allclose(found["v_x"], [[10, 10, 20, 30]], atol=1e-4)
    np.testing.assert_allclose(found["v_y"], [[0, 0, 1, 2]], atol=1e-4)
    np.testing.assert_allclose(found["a_x"], [[0, 0, 50, 50]], atol=1e-3)
    np.testing.assert_allclose(
        found["heading_error"], np.arctan2([[0, 0, 1, 2]], [[10, 10, 20, 30]]), atol=1e-5
    )


def test_neighbours_by_hand(tracks):
    inputs = tracks(1)
    inputs["present"][:] = 0
    inputs["present"][0, 2:, 4] = 1
    inputs["neighbours"][0, :, 4] = inputs["ego"][0] + np.stack(
        [30 - 2.0 * np.arange(8), np.full(8, -3.5)], axis=-1
    )
    found = raw(inputs)
    np.testing.assert_allclose(found["x_4"][0], [FAR, FAR, 26, 24, 22, 20, 18, 16], atol=1e-4)
    np.testing.assert_allclose(found["y_4"][0, 2:], -3.5, atol=1e-4)
    # In the step in which it appears, nothing is known of its speed.
    np.testing.assert_allclose(found["v_x_4"][0], [0, 0, 0] + [-10] * 5, atol=1e-3)
    np.testing.assert_array_equal(found["present_4"][0], [0, 0] + [1] * 6)
    np.testing.assert_allclose(found["x_5"], -FAR)


@pytest.mark.parametrize("unknown", [np.nan, UNKNOWN_OFFSET])
def test_what_is_unknown_is_marked_and_spoils_nothing(tracks, unknown):
    inputs = tracks(2)
    known = raw(inputs)
    inputs["lane_offset"][0] = unknown
    inputs["length"][0] = np.nan if np.isnan(unknown) else 0.0
    inputs["neighbours"][inputs["present"] == 0] = np.nan
    found = raw(inputs)
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["lane_known"].tolist() == [[0.0] * 8, [1.0] * 8]
    for name in FEATURES:
        np.testing.assert_array_equal(found[name][1], known[name][1])


def test_no_feature_looks_ahead_and_the_place_on_the_map_does_not_matter(tracks):
    inputs, changed = tracks(1), tracks(1)
    changed["ego"][0, 5] += 1.0
    changed["lane_offset"][0, 5] += 1.0
    one, two = raw(inputs), raw(changed)
    for name in FEATURES:
        np.testing.assert_array_equal(one[name][0, :5], two[name][0, :5])
    moved = dict(inputs)
    moved["ego"] = inputs["ego"] + np.float32(512)
    moved["neighbours"] = inputs["neighbours"] + np.float32(512)
    for name, values in raw(moved).items():
        np.testing.assert_allclose(values, one[name], atol=2e-2)


def test_statistics_make_features_standard(tracks):
    layer = TrackFeatures(5.0)
    inputs = tracks(50)
    plain = array(layer(inputs))
    layer.set_statistics(plain.mean(axis=(0, 1)), plain.std(axis=(0, 1)))
    scaled = array(layer(inputs))
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=1e-3)
    varying = plain.std(axis=(0, 1)) > 1e-2
    np.testing.assert_allclose(scaled.std(axis=(0, 1))[varying], 1, atol=1e-3)


def test_constant_velocity_takes_the_mean_of_its_span():
    ego = np.array([[[0, 0], [1, 0], [4, 1]]], "float32")
    way = array(constant_velocity(ego, 5.0, span=2, horizon=3))
    np.testing.assert_allclose(way, [[[2, 0.5], [4, 1], [6, 1.5]]])


def test_surroundings_by_hand(tracks):
    inputs = tracks(2)
    steps = np.arange(8, dtype="float32")
    inputs["ego"] = np.stack([[0.2, 5.0]] * 8, axis=1)[..., None] * [1, 0] * steps[None, :, None]
    inputs["ego"] = inputs["ego"].astype("float32")  # 1 m/s and 25 m/s
    inputs["present"][:, -1] = [[1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    inputs["length"] = np.array([np.nan, 12.0], "float32")
    found = array(surroundings(inputs, 5.0, span=2))
    assert found.shape == (2, SURROUNDINGS)
    np.testing.assert_allclose(found[0], [1 / 6, 1, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], [3 / 6, 0, 0, 0, 1, 1, 1], atol=1e-6)
