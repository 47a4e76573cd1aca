from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_apps.pipelines.acoustic.config import DataSettings
from moe_apps.pipelines.acoustic.segments import segments_of
from moe_apps.pipelines.acoustic.served import cut
from moe_apps.pipelines.acoustic.sound_files import resampler


def cut_up(total: int, block: int = 700, **given: object) -> list[tuple[int, np.ndarray]]:
    sound = np.arange(1, total + 1, dtype=np.float32)
    blocks = [sound[n : n + block] for n in range(0, total, block)]
    return list(segments_of(blocks, DataSettings(sample_rate=1000, segment=1.0, **given)))


@pytest.mark.parametrize(
    ("total", "given", "starts"),
    [
        (3000, {}, [0, 1000, 2000]),
        (3500, {}, [0, 1000, 2000]),
        (3500, {"last": "pad"}, [0, 1000, 2000, 3000]),
        (3500, {"last": "shift"}, [0, 1000, 2000, 2500]),
        (3050, {"last": "shift"}, [0, 1000, 2000]),  # a rest of less than a tenth
        (2500, {"overlap": 0.5}, [0, 500, 1000, 1500]),
        (400, {}, [0]),
        (400, {"short": "skip"}, []),
        (0, {}, []),
    ],
)
def test_starts(total: int, given: dict, starts: list[int]) -> None:
    found = cut_up(total, **given)
    assert [start for start, _ in found] == starts
    for start, samples in found:
        here = np.arange(start + 1, start + 1001)
        if total >= 1000:
            np.testing.assert_array_equal(samples, np.where(here <= total, here, 0))


def test_short_recordings_are_repeated_or_padded() -> None:
    repeated, padded = cut_up(400)[0][1], cut_up(400, short="pad")[0][1]
    assert repeated[400] == 1 and repeated[999] == 200
    assert padded[399] == 400 and not padded[400:].any()


@settings(max_examples=60)
@given(
    total=st.integers(1, 4200),
    block=st.integers(1, 3000),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
    last=st.sampled_from(["drop", "pad", "shift"]),
    short=st.sampled_from(["repeat", "pad"]),
)
def test_the_graph_cuts_as_the_stream(
    total: int, block: int, overlap: float, last: str, short: str
) -> None:
    chosen = {"overlap": overlap, "last": last, "short": short}
    streamed = cut_up(total, block, **chosen)
    config = DataSettings(sample_rate=1000, segment=1.0, **chosen)
    sound = tf.range(1, total + 1, dtype=tf.float32)[None]
    np.testing.assert_array_equal(cut(sound, config), np.stack([x for _, x in streamed]))


def test_resampling_in_blocks_is_resampling_at_once() -> None:
    import soxr

    sound = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32)
    stream = resampler(44100, 16000)
    parts = [stream(sound[n : n + 5000], n + 5000 >= len(sound)) for n in range(0, 44100, 5000)]
    found = np.concatenate(parts)
    expected = soxr.resample(sound, 44100, 16000, quality="HQ")
    assert len(found) == len(expected) == 16000
    np.testing.assert_allclose(found, expected, atol=1e-3)
