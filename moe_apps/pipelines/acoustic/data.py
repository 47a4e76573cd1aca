"""From data settings to segments of three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError, DataError
from moe_apps.models.acoustic import AcousticFeatures, SpectraFeatures
from moe_apps.pipelines.acoustic.building import feature_layer
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.extraction import Extractor, Piece, Segments, extracted
from moe_apps.pipelines.acoustic.recordings import Recording, find_recordings
from moe_apps.pipelines.acoustic.sound_files import check_installed, resampler
from moe_apps.pipelines.acoustic.spectra_file import SPECTRA_SUFFIX, read_spectra
from moe_apps.pipelines.acoustic.splits import PART_NAMES, TEST, TRAIN, VALIDATION, split_recordings
from moe_apps.pipelines.content_digest import content_digest

Ints = npt.NDArray[np.int64]
GENERATOR = "built-in generator of ship noise"


@dataclass(frozen=True)
class AcousticData:
    """Segments of recordings, in parts.

    Attributes:
        segments: all of them.
        recordings: in the order of their numbers.
        classes: names in the order of their numbers.
        part: number of the part of each segment (see `splits`).
        features: the layer that made the features.
        facts: what the data were, for `metrics.json`.
    """

    segments: Segments
    recordings: list[Recording]
    classes: tuple[str, ...]
    part: Ints
    features: AcousticFeatures | SpectraFeatures
    facts: dict[str, Any]

    def of(self, part: int) -> Segments:
        """The segments of a part."""
        return self.segments.take(np.flatnonzero(self.part == part))


def acoustic_data(config: AcousticConfig) -> AcousticData:
    """The data of a configuration, split.

    Raises:
        DataError: nothing can be read, or the classes or the split do not allow training.
    """
    settings = config.data
    source = settings.path or GENERATOR
    notes: list[str] = []
    segments, recordings, features = _read(config, settings.path, notes, None)
    if any(not one.label for one in recordings):
        bad = next(one for one in recordings if not one.label)
        raise DataError(
            f"{source}: {bad.name} is in no class; expected one folder a class, or names such as "
            "Tugboat_15__10_07_13_radaUno.wav"
        )
    classes = tuple(sorted({one.label for one in recordings}))
    number = {name: place for place, name in enumerate(classes)}
    of_recording = np.array([number[one.label] for one in recordings], np.int64)
    segments = replace(segments, label=of_recording[segments.recording])
    parts, unit = split_recordings(recordings, settings, config.seed, source)
    part = parts[segments.recording]
    if settings.split == "segment":
        # For demonstration: neighbours of training segments are in the test part.
        rng = np.random.default_rng(config.seed)
        shares = (settings.train_fraction, 1 - settings.train_fraction - settings.test_fraction)
        edges = np.cumsum(shares) * len(part)
        part = np.digitize(rng.permutation(len(part)), edges).astype(np.int64)
        unit = "segment"
        notes.append("split by segment: results are far too good, see the guide")
    facts = _facts(segments, recordings, classes, part, source, unit, notes)
    return AcousticData(segments, recordings, classes, part, features, facts)


def other_data(config: AcousticConfig, path: Path, classes: tuple[str, ...]) -> AcousticData:
    """All recordings of other data, to judge a trained model on.

    Raises:
        DataError: a recording has no class, or one that the model does not know.
    """
    notes: list[str] = []
    segments, recordings, features = _read(config, str(path), notes, classes)
    unknown = sorted({one.label for one in recordings} - set(classes))
    if unknown:
        raise DataError(
            f"{path}: classes {', '.join(name or '(none)' for name in unknown)} are not those of "
            f"the run: {', '.join(classes)}"
        )
    part = np.full(len(segments), TEST, np.int64)
    facts = _facts(segments, recordings, classes, part, str(path), "none: all is judged", notes)
    return AcousticData(segments, recordings, classes, part, features, facts)


def _read(
    config: AcousticConfig, path: str | None, notes: list[str], classes: tuple[str, ...] | None
) -> tuple[Segments, list[Recording], AcousticFeatures | SpectraFeatures]:
    settings = config.data
    if path is not None and Path(path).suffix.lower() == SPECTRA_SUFFIX:
        return _read_spectra(Path(path), notes, classes)
    check_installed()
    features = feature_layer(config)
    extractor = Extractor(
        features, settings, waveforms=config.train.augmentation.noise_snr is not None
    )
    known = classes or ()
    if path is None:
        segments, recordings = _generated(config, extractor, known, notes)
        return segments, recordings, features
    folder = Path(path)
    if not folder.exists():
        raise DataError(f"{path}: no such file or folder")
    if not folder.is_dir():
        raise DataError(
            f"{path}: expected a folder with one folder of recordings for each class, or an .npz "
            "of spectra"
        )
    metadata = Path(settings.metadata) if settings.metadata else None
    recordings, skipped = find_recordings(folder, metadata=metadata, strict=settings.strict)
    notes += skipped

    def read(one: Recording) -> tuple[Piece, Any]:
        assert one.file is not None
        return extractor.of_file(one.file)

    segments, recordings = extracted(recordings, read, known, strict=settings.strict, notes=notes)
    return segments, recordings, features


def _generated(
    config: AcousticConfig, extractor: Extractor, classes: tuple[str, ...], notes: list[str]
) -> tuple[Segments, list[Recording]]:
    from moe_apps.pipelines.acoustic.generator import MadeRecording, made_recordings

    settings = config.data.generator
    waiting: dict[str, MadeRecording] = {}

    def recordings() -> Iterator[Recording]:
        for made in made_recordings(settings, config.seed):
            waiting[made.name] = made
            yield Recording(
                made.name, made.label, sub_type=made.facts["sub_type"], facts=made.facts
            )

    def read(one: Recording) -> tuple[Piece, Any]:
        waveform = waiting.pop(one.name).waveform
        stream = resampler(settings.sample_rate, config.data.sample_rate)
        return extractor.of_blocks([stream(waveform, True)])

    return extracted(recordings(), read, classes, strict=True, notes=notes)


def _read_spectra(
    file: Path, notes: list[str], classes: tuple[str, ...] | None
) -> tuple[Segments, list[Recording], SpectraFeatures]:
    found = read_spectra(file)
    notes += found.notes
    features = SpectraFeatures(found.lengths, name="features")
    inputs = {name: np.asarray(value) for name, value in features(found.spectra).items()}
    count = len(found.recordings)
    number = {name: place for place, name in enumerate(classes or ())}
    label = np.array([number.get(one.label, -1) for one in found.recordings], np.int64)
    return Segments(inputs, np.arange(count), np.zeros(count), label), found.recordings, features


def _facts(
    segments: Segments,
    recordings: list[Recording],
    classes: tuple[str, ...],
    part: Ints,
    source: str,
    unit: str,
    notes: list[str],
) -> dict[str, Any]:
    ships = {one.ship for one in recordings if one.ship}
    rates = sorted({one.sound.rate for one in recordings if one.sound})
    if unit == "recording" and not ships and source != GENERATOR:
        notes.append(
            "split by recording: ships are unknown, so one ship may be in training and test"
        )
    by_part: dict[str, dict[str, int]] = {}
    for number, name in enumerate(PART_NAMES):
        rows = part == number
        if rows.any():
            of_part = np.unique(segments.recording[rows])
            labels = [recordings[row].label for row in of_part]
            by_part[name] = {label: labels.count(label) for label in classes}
    return {
        "source": source,
        "digest": digest(segments),
        "test_digest": _test_digest(segments.take(np.flatnonzero(part == TEST)), recordings),
        "classes": list(classes),
        "recordings": len(recordings),
        "segments": {
            PART_NAMES[number]: int((part == number).sum())
            for number in range(len(PART_NAMES))
            if number in (TRAIN, VALIDATION, TEST) or (part == number).any()
        },
        "recordings_by_part": by_part,
        "ships": len(ships) or None,
        "hours": sum(one.sound.seconds for one in recordings if one.sound) / 3600 or None,
        "original_rates": rates,
        "split_by": unit,
        "notes": notes,
    }


def digest(segments: Segments) -> str:
    """SHA-256 of features, recordings and labels, in hexadecimal."""
    found = hashlib.sha256()
    for name in sorted(segments.inputs):
        found.update(np.ascontiguousarray(segments.inputs[name]).tobytes())
    for array in (segments.recording, segments.label):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _test_digest(test: Segments, recordings: list[Recording]) -> str:
    """Of recordings, places and classes, the same for every kind of features."""
    numbers, place = np.unique(test.recording, return_inverse=True)
    heard = [
        (one.name, one.label, one.sound and (one.sound.rate, one.sound.seconds), one.facts)
        for one in (recordings[number] for number in numbers)
    ]
    return content_digest(place, test.start, test.label, heard)


def check_backend_of_noise(config: AcousticConfig) -> None:
    """Raise `ConfigError` where noise is asked for on a backend on which it cannot be added."""
    if config.train.augmentation.noise_snr is not None and config.train.backend != "tensorflow":
        raise ConfigError(
            "train.augmentation.noise_snr: features are computed anew in the input pipeline, "
            "which is TensorFlow's: expected train.backend tensorflow"
        )
