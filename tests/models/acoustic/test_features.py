"""Features in the graph beside librosa and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from keras import ops

from keras_modes import MODEL_MODES, QUICKEST, in_mode
from moe_apps.models.acoustic import AcousticFeatures, ConstantQ, Demon, Spectrogram
from moe_apps.models.acoustic.filterbanks import bark_filterbank, hz_to_bark

librosa = pytest.importorskip("librosa")

RATE, FRAME, FFT, HOP = 16000, 800, 1024, 400


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """2 s of tones over noise."""
    rng = np.random.default_rng(0)
    time = np.arange(2 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * f * time + f) for f in (110.0, 437.0, 1300.0, 5200.0))
    return (tones + 0.1 * rng.normal(size=time.size)).astype(np.float32)


def stft_power(sound: np.ndarray) -> np.ndarray:
    spectrum = librosa.stft(
        sound, n_fft=FFT, hop_length=HOP, win_length=FRAME, window="hann", center=False
    )
    return np.square(np.abs(spectrum)).T


@pytest.mark.parametrize(
    ("kind", "mode"), [("stft", QUICKEST), ("mel", QUICKEST), ("mfcc", QUICKEST), ("mfcc", "xla")]
)
def test_as_librosa(kind: str, mode: str, sound: np.ndarray) -> None:
    layer = Spectrogram(kind, frame=FRAME, hop=HOP, bands=40, coefficients=13, f_min=0.0)
    found = in_mode(layer, mode)(sound[None])[0]
    power = stft_power(sound)
    if kind != "stft":
        power = power @ librosa.filters.mel(sr=RATE, n_fft=FFT, n_mels=40).T
    expected = librosa.power_to_db(power, amin=1e-10, top_db=None)
    if kind == "mfcc":
        expected = scipy.fft.dct(expected, type=2, norm="ortho", axis=1)[:, :13]
        again = librosa.feature.mfcc(
            S=librosa.power_to_db(power.T, amin=1e-10, top_db=None), n_mfcc=13
        )
        np.testing.assert_allclose(expected, again.T, atol=1e-3)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_frames_are_averaged_as_power(sound: np.ndarray) -> None:
    layer = Spectrogram("stft", frame=FRAME, hop=HOP, time_pool=4)
    power = stft_power(sound)
    frames = len(power) // 4 * 4
    expected = 10 * np.log10(power[:frames].reshape(-1, 4, FFT // 2 + 1).mean(axis=1))
    np.testing.assert_allclose(np.asarray(layer(sound[None]))[0], expected, atol=0.02)


@pytest.mark.parametrize("mode", MODEL_MODES)
def test_constant_q_as_librosa(mode: str, sound: np.ndarray) -> None:
    layer = ConstantQ(hop=512, bins_per_octave=24, f_min=80.0, f_max=6000.0)
    layer.build((None, sound.size))
    found = in_mode(layer, mode)(sound[None])[0]
    bins = len(layer.frequencies)
    expected = np.abs(
        librosa.cqt(
            sound, sr=RATE, hop_length=512, fmin=80.0, n_bins=bins, bins_per_octave=24,
            sparsity=0.0, res_type="soxr_vhq",
        )
    ).T  # fmt: skip
    # Frames whose windows reach over neither end; what librosa resamples differs most where
    # there is little sound, so bins within 30 dB of the strongest count.
    inner = slice(15, len(found) - 15)
    decibels = 20 * np.log10(np.maximum(expected[inner], 1e-10))
    near = decibels > decibels.max() - 30
    assert near.sum() > 300
    assert np.abs(found[inner] - decibels)[near].max() < 0.5
    assert np.abs(found[inner] - decibels)[near].mean() < 0.1


def test_constant_q_needs_room_for_its_longest_window() -> None:
    with pytest.raises(ValueError, match="raise `f_min`"):
        ConstantQ(f_min=10.0)(np.zeros((1, 16000), np.float32))


def test_bark_bands_are_equally_far_apart_on_their_scale() -> None:
    bank = bark_filterbank(RATE, 4096, 24, 0.0, 8000.0)
    peaks = hz_to_bark(bank.argmax(axis=0) * RATE / 4096)
    assert np.abs(np.diff(peaks) - hz_to_bark(np.array(8000.0)) / 25).max() < 0.1
    # The area of each filter is 1.
    np.testing.assert_allclose(bank.sum(axis=0) * RATE / 4096, 1, atol=0.05)


def test_bands_that_no_bin_falls_into_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer `bands`"):
        Spectrogram("mel", frame=256, bands=128)


def modulated(shaft: float, depth: float, seconds: float = 5.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    time = np.arange(int(seconds * RATE)) / RATE
    noise = rng.normal(size=time.size)
    return (noise * (1 + depth * np.cos(2 * np.pi * shaft * time))).astype(np.float32)


@pytest.mark.parametrize("mode", MODEL_MODES)
def test_demon_finds_rate_and_depth_of_a_modulation(mode: str) -> None:
    layer = Demon()
    layer.build((None, 80000))
    spectrum = in_mode(layer, mode)(modulated(7.4, 0.3)[None])[0]
    assert (spectrum.argmax() + 1) * RATE / 80000 == pytest.approx(7.4)
    # The power's modulation is 2 m / (1 + m^2 / 2) of the amplitude's m.
    assert spectrum.max() == pytest.approx(20 * np.log10(0.6 / 1.045), abs=0.7)


def test_demon_as_scipy() -> None:
    sound = modulated(3.2, 0.5)
    low, high, rate = 2000, 4400, 200
    found = np.asarray(Demon(low=low, high=high, sub_bands=1, envelope_rate=rate)(sound[None]))[0]
    spectrum = np.fft.rfft(sound)
    bins = np.fft.rfftfreq(sound.size, 1 / RATE)
    spectrum[(bins < low) | (bins >= high)] = 0
    envelope = np.square(np.abs(scipy.signal.hilbert(np.fft.irfft(spectrum))))
    envelope = envelope.reshape(-1, RATE // rate).mean(axis=1)
    frequency, density = scipy.signal.periodogram(
        envelope / envelope.mean() - 1, fs=rate, window="hann", detrend=False, scaling="spectrum"
    )
    # An amplitude of 1 is 0 dB here, and a mean square of 1/2 in scipy.
    expected = np.sqrt(2 * density[1 : len(found) + 1])
    assert frequency[1] == pytest.approx(0.2)
    np.testing.assert_allclose(10 ** (found / 20), expected, atol=0.02 * expected.max())
    assert np.corrcoef(10 ** (found / 20), expected)[0, 1] > 0.995


def test_level_and_offset_do_not_matter() -> None:
    sound = modulated(5.0, 0.3)
    features = AcousticFeatures("mel", samples=80000, sample_rate=RATE, demon={})
    one = features(ops.convert_to_tensor(sound[None]))
    other = features(ops.convert_to_tensor(0.01 * sound[None] + 0.2))
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=0.05)


@pytest.mark.parametrize("kind", ["stft", "mel", "bark", "cqt", "mfcc"])
def test_silence_gives_finite_features(kind: str) -> None:
    features = AcousticFeatures(
        kind, samples=16000, sample_rate=8000, demon={"high": 3900.0}, f_min=50.0, bands=20
    )
    found = features(np.zeros((1, 16000), np.float32))
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == features.shapes()
    assert all(np.isfinite(value).all() for value in found.values())
