"""The tab of deraining, asked as a visitor's own program asks it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

DOMAIN = "deraining"


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_photograph_is_restored(client, photo):
    slider, file, facts, shares, where = client.predict(handle_file(str(photo)), api_name="/derain")
    before, after = (np.asarray(Image.open(path)) for path in slider)
    np.testing.assert_array_equal(before, np.asarray(Image.open(photo)))  # the slider is lossless
    # A fresh model leaves images as they are.
    np.testing.assert_array_equal(np.asarray(Image.open(file)), before)
    assert after.shape == before.shape
    assert "56 x 40 pixels in one piece" in facts
    assert re.search(r"Answered by DRSformer of `.*deraining`", facts)
    assert "separable" in shares["plot"]
    assert Image.open(where).size == (56, 40)


def test_weather_is_added_to_a_photograph(client, photo):
    rainy = client.predict(handle_file(str(photo)), "snow", "heavy", 10, 1, api_name="/add_weather")
    truth = np.asarray(Image.open(photo))
    assert np.abs(np.asarray(Image.open(rainy)).astype(int) - truth).mean() > 1


def test_a_file_that_is_no_image_is_named(client, tmp_path):
    (tmp_path / "note.png").write_text("no image")
    with pytest.raises(AppError, match=r"note\.png"):
        client.predict(handle_file(str(tmp_path / "note.png")), api_name="/derain")


def test_a_question_without_a_photograph_is_answered_in_words(client):
    with pytest.raises(AppError, match="Choose a photograph first"):
        client.predict(None, api_name="/derain")


def test_a_file_that_is_no_video_is_named(client, tmp_path):
    (tmp_path / "note.mp4").write_text("no video")
    with pytest.raises(AppError, match="video"):
        client.predict({"video": handle_file(str(tmp_path / "note.mp4"))}, api_name="/derain_video")
