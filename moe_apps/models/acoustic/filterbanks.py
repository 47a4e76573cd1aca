"""Filterbanks and transforms of spectra, as constant matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float64]

# Slaney's mel scale: linear up to 1 kHz, logarithmic above.
_HZ_PER_MEL, _BREAK_HZ = 200.0 / 3, 1000.0
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: Floats) -> Floats:
    """Mel of frequencies, on Slaney's scale (that of librosa's default).

    >>> hz_to_mel(np.array([0.0, 1000.0, 6400.0])).round(6).tolist()
    [0.0, 15.0, 42.0]
    """
    hz = np.asarray(hz, np.float64)
    above = _BREAK_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: Floats) -> Floats:
    """Frequencies of mels; the inverse of `hz_to_mel`.

    >>> mel_to_hz(np.array([15.0])).round(6).tolist()
    [1000.0]
    """
    mel = np.asarray(mel, np.float64)
    breaks = _BREAK_HZ / _HZ_PER_MEL
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - breaks))
    return np.where(mel < breaks, mel * _HZ_PER_MEL, above)


def hz_to_bark(hz: Floats) -> Floats:
    """Critical-band rate, `13 atan(0.00076 f) + 3.5 atan((f / 7500)^2)` (Zwicker & Terhardt 1980).

    >>> hz_to_bark(np.array([1000.0])).round(2).tolist()
    [8.51]
    """
    hz = np.asarray(hz, np.float64)
    return 13 * np.arctan(0.00076 * hz) + 3.5 * np.arctan(np.square(hz / 7500))


def bark_to_hz(bark: Floats) -> Floats:
    """Frequencies of critical-band rates, by interpolation within 0 to 100 kHz.

    >>> bark_to_hz(hz_to_bark(np.array([440.0]))).round(3).tolist()
    [440.0]
    """
    hz = np.concatenate([[0.0], np.geomspace(0.1, 1e5, 200_000)])
    return np.interp(bark, hz_to_bark(hz), hz)


def triangles(
    edges: Floats, sample_rate: int, fft_length: int, area: bool = True
) -> npt.NDArray[np.float32]:
    """Triangular filters between neighbouring edges, `[fft_length // 2 + 1, bands]`.

    Args:
        edges: `bands + 2` ascending frequencies in Hz: start, peak and end of each filter.
        sample_rate: in Hz.
        fft_length: of the spectra.
        area: scale each to an area of 1 (Slaney); else to a peak of 1.

    Raises:
        ValueError: a filter lies between two bins of the spectrum and would be always 0.

    Example:
        >>> triangles(np.array([0.0, 2000, 4000, 6000]), 16000, 16, area=False)[1:5, 0].tolist()
        [0.5, 1.0, 0.5, 0.0]
    """
    bins = np.arange(fft_length // 2 + 1) * (sample_rate / fft_length)
    width = np.diff(edges)
    distance = edges[:, None] - bins
    rising, falling = -distance[:-2] / width[:-1, None], distance[2:] / width[1:, None]
    bank = np.maximum(0, np.minimum(rising, falling))
    if not bank.any(axis=1).all():
        empty = int(np.flatnonzero(~bank.any(axis=1))[0])
        raise ValueError(
            f"band {empty} of {len(bank)} ({edges[empty]:.1f} to {edges[empty + 2]:.1f} Hz) has no "
            f"bin of the spectrum, whose bins are {sample_rate / fft_length:.1f} Hz apart: take "
            "fewer `bands`, a longer `frame` or a higher `f_min`"
        )
    if area:
        bank *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return bank.T.astype(np.float32)


def mel_filterbank(
    sample_rate: int, fft_length: int, bands: int, f_min: float, f_max: float
) -> npt.NDArray[np.float32]:
    """Mel filters of Slaney's Auditory Toolbox, `[fft_length // 2 + 1, bands]`.

    >>> mel_filterbank(16000, 1024, 64, 0.0, 8000.0).shape
    (513, 64)
    """
    low, high = hz_to_mel(np.array([f_min, f_max]))
    return triangles(mel_to_hz(np.linspace(low, high, bands + 2)), sample_rate, fft_length)


def bark_filterbank(
    sample_rate: int, fft_length: int, bands: int, f_min: float, f_max: float
) -> npt.NDArray[np.float32]:
    """Triangular filters at equal distances on the Bark scale, `[fft_length // 2 + 1, bands]`.

    >>> bark_filterbank(16000, 1024, 24, 0.0, 8000.0).shape
    (513, 24)
    """
    low, high = hz_to_bark(np.array([f_min, f_max]))
    edges = bark_to_hz(np.linspace(low, high, bands + 2))
    return triangles(edges, sample_rate, fft_length)


def cosine_transform(inputs: int, outputs: int) -> npt.NDArray[np.float32]:
    """Orthonormal discrete cosine transform (type II), `[inputs, outputs]`.

    >>> cosine_transform(4, 2)[:, 0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    matrix = scipy.fft.dct(np.eye(inputs), type=2, norm="ortho", axis=1)
    return np.asarray(matrix[:, :outputs], np.float32)
