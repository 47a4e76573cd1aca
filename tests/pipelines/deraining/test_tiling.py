from __future__ import annotations

import itertools

import numpy as np
import pytest

from moe_apps.pipelines.deraining.tiling import padded, restore_tiled, starts, tile_count, window


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (33, 100), (64, 64), (130, 71)])
@pytest.mark.parametrize("overlap", [0, 8, 16])
def test_tiles_of_an_unchanged_image_make_the_image(size, overlap):
    image = np.random.default_rng(0).random((*size, 3)).astype("float32")
    seen = []

    def same(tile, routing):
        seen.append(tile.shape)
        return tile

    out = restore_tiled(image, same, tile=32, overlap=overlap)
    np.testing.assert_allclose(out, image, atol=1e-5)
    assert set(seen) == {(1, 32, 32, 3)}
    assert len(seen) == tile_count(*size, 32, overlap)


@pytest.mark.parametrize("side, tile, overlap", [(100, 32, 8), (33, 32, 8), (1000, 64, 32)])
def test_neighbours_overlap_and_nothing_is_left_out(side, tile, overlap):
    begin = starts(side, tile, overlap)
    assert begin[0] == 0 and begin[-1] == side - tile
    assert all(b - a <= tile - overlap for a, b in itertools.pairwise(begin))


def test_tiles_that_disagree_meet_without_a_seam():
    """Every tile answers with another grey: neighbouring pixels still differ by little."""
    greys = iter(np.linspace(0.2, 0.8, 9))
    image = np.zeros((96, 96, 3), np.float32)
    out = restore_tiled(
        image, lambda tile, routing: np.full_like(tile, next(greys)), tile=48, overlap=24
    )
    assert np.abs(np.diff(out, axis=0)).max() < 0.05 and np.abs(np.diff(out, axis=1)).max() < 0.05
    hard = iter(np.linspace(0.2, 0.8, 4))
    cut = restore_tiled(
        image, lambda tile, routing: np.full_like(tile, next(hard)), tile=48, overlap=0
    )
    assert np.abs(np.diff(cut, axis=0)).max() > 0.3


def test_routing_goes_to_every_tile_and_progress_is_told():
    given, told = [], []
    restore_tiled(
        np.zeros((64, 40, 3), np.uint8),
        lambda tile, routing: given.append(routing) or tile,
        tile=32,
        overlap=8,
        routing="whole",
        on_tile=lambda: told.append(1),
    )
    assert given == ["whole"] * 6 and len(told) == 6


def test_integers_are_read_by_their_depth():
    for kind in (np.uint8, np.uint16):
        image = np.full((8, 8, 3), np.iinfo(kind).max, kind)
        assert restore_tiled(image, lambda x, routing: x, tile=32, overlap=0).max() == 1


def test_mirroring_repeats_no_edge():
    row = np.arange(3.0)[None, :, None]
    assert padded(row, 8)[0, :, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_the_window_rises_and_its_neighbour_falls_to_one_in_sum():
    weights = window(20, 6)
    np.testing.assert_allclose(weights[:6] + weights[-6:], 1, atol=1e-6)
