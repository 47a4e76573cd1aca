"""Settings of an acoustic run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.train_settings import TrainSettings


class GeneratorSettings(Settings):
    """What is made when there are no data.

    Attributes:
        recordings: Recordings, classes in turn; each is one passage of one ship.
        seconds: Length of a recording.
        sample_rate: Hz.
        background: Also make a class without a near ship.
        interferer: Share of recordings with another ship, 5 to 15 dB below.
        snr_low: Least signal-to-noise ratio from 50 Hz to 7.5 kHz in dB, ship to sea: what the
            distance makes of a ship is clamped to this range.
        snr_high: Most of it.
    """

    recordings: int = Field(default=720, ge=8)
    seconds: float = Field(default=20.0, ge=1, le=600)
    sample_rate: int = Field(default=16000, ge=2000, le=96000)
    background: bool = False
    interferer: float = Field(default=0.5, ge=0, le=1)
    snr_low: float = Field(default=-10.0, ge=-60, le=60)
    snr_high: float = Field(default=20.0, ge=-60, le=60)

    @model_validator(mode="after")
    def _in_order(self) -> GeneratorSettings:
        if self.snr_low > self.snr_high:
            raise ValueError(f"snr_low {self.snr_low} is above snr_high {self.snr_high}")
        return self


class DataSettings(Settings):
    """Which recordings, how they are cut into segments, and how they are split.

    Attributes:
        path: Folder of recordings, one class a folder, or an .npz of spectra; None for the
            built-in generator.
        strict: Whether one bad file is an error; else it is skipped and noted.
        sample_rate: Hz that recordings are brought to.
        segment: Seconds of a segment.
        overlap: Seconds that neighbouring segments share.
        last: What becomes of the rest of a recording: "drop" it, "pad" it by zeros, or "shift"
            its segment back so that it is whole.
        short: What becomes of recordings shorter than a segment: "repeat" them, "pad" them by
            zeros, or "skip" them.
        metadata: CSV with a column `recording` (file name with or without folders and suffix) and
            any of `ship`, `sub_type`, `part`; None: metadata.csv in the folder, if it is there.
        split: Unit of the split: "recording", "ship", or "auto": ships where all recordings of
            two classes or more have one, else recordings. "segment" leaks: for demonstration.
        train_fraction: Share of units for training.
        test_fraction: Share of units for test; the rest is for validation.
        held_out: Sub-types that are in no part, but judged apart as unseen kinds.
        max_hours: Longest recording that is read, in hours; of a longer one the beginning.
        cache: Folder that keeps features, for the next run with the same files and settings.
        generator: What is made when there is no path.
    """

    path: str | None = None
    strict: bool = False
    sample_rate: int = Field(default=16000, ge=1000, le=192_000)
    segment: float = Field(default=5.0, gt=0, le=600)
    overlap: float = Field(default=0.0, ge=0)
    last: Literal["drop", "pad", "shift"] = "drop"
    short: Literal["repeat", "pad", "skip"] = "repeat"
    metadata: str | None = None
    split: Literal["auto", "recording", "ship", "segment"] = "auto"
    train_fraction: float = Field(default=0.6, gt=0, lt=1)
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    held_out: tuple[str, ...] = ()
    max_hours: float = Field(default=24.0, gt=0)
    cache: str | None = None
    generator: GeneratorSettings = GeneratorSettings()

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return round(self.segment * self.sample_rate)

    @property
    def hop(self) -> int:
        """Samples from one segment to the next."""
        return round((self.segment - self.overlap) * self.sample_rate)

    @model_validator(mode="after")
    def _consistent(self) -> DataSettings:
        if self.overlap >= self.segment:
            raise ValueError(f"overlap {self.overlap} s is not below segment {self.segment} s")
        if self.train_fraction + self.test_fraction >= 1:
            raise ValueError("train_fraction and test_fraction leave nothing for validation")
        return self


class DemonSettings(Settings):
    """The DEMON spectrum.

    Attributes:
        low: Hz, start of the band whose envelope is looked at.
        high: Hz, its end; lowered to 0.48 of the sample rate where need be.
        sub_bands: Parts that the band is cut into.
        max_frequency: Hz, the highest modulation.
    """

    low: float = Field(default=500.0, ge=0)
    high: float = Field(default=7500.0, gt=0)
    sub_bands: int = Field(default=6, ge=1, le=64)
    max_frequency: float = Field(default=50.0, gt=0, le=1000)


class FeatureSettings(Settings):
    """What the network looks at.

    Attributes:
        kind: Time-frequency image: stft, mel, bark, cqt or mfcc; none for DEMON alone.
        frame_ms: Milliseconds of a frame.
        hop_ms: Milliseconds from frame to frame.
        bands: Bands of mel, bark and mfcc.
        coefficients: Coefficients of mfcc.
        bins_per_octave: Of cqt.
        f_min: Hz, the lowest frequency.
        f_max: Hz, the highest; None for half the sample rate.
        time_pool: Frames whose power is averaged into one.
        demon: Give the network the DEMON spectrum too.
        demon_settings: How that is made; baselines use it in any case.
    """

    kind: Literal["stft", "mel", "bark", "cqt", "mfcc", "none"] = "mel"
    frame_ms: float = Field(default=64.0, gt=0, le=2000)
    hop_ms: float = Field(default=32.0, gt=0, le=2000)
    bands: int = Field(default=96, ge=4, le=512)
    coefficients: int = Field(default=20, ge=2, le=128)
    bins_per_octave: int = Field(default=24, ge=3, le=96)
    f_min: float = Field(default=20.0, ge=0)
    f_max: float | None = Field(default=None, gt=0)
    time_pool: int = Field(default=4, ge=1, le=1000)
    demon: bool = True
    demon_settings: DemonSettings = DemonSettings()

    @model_validator(mode="after")
    def _something(self) -> FeatureSettings:
        if self.kind == "none" and not self.demon:
            raise ValueError("kind none without demon leaves nothing to look at")
        return self


class ModelSettings(Settings):
    """The model.

    Attributes:
        name: The system.
        front_end: Residual network: tiny, small (two CPU cores) or resnet18.
        pooling: average; attention; or time, which keeps frequencies apart.
        num_experts: Experts.
        expert_hidden: Width of experts of two layers with batch normalisation; 0 for one layer.
        gate: switch, hard (as released: the task does not train the routing), soft,
            straight_through.
        activation: Of the routing scores: softmax, sigmoid or linear.
        router_input: What is routed on: embedding, or demon (as DEMONet).
        residual: Add an expert that is always on (RCMoE).
        balance_loss_weight: Factor of the balance loss.
        demon_encoder: DEMON network: convolution; or kernel, likeness to training examples, for
            a few hundred spectra.
        demon_units: Width of what the DEMON network adds to the embedding.
        dropout: Share of the embedding left out in training.
    """

    name: Literal["cmoe"] = "cmoe"
    front_end: Literal["tiny", "small", "resnet18"] = "small"
    pooling: Literal["average", "attention", "time"] = "average"
    num_experts: int = Field(default=8, ge=2, le=256)
    expert_hidden: int = Field(default=0, ge=0, le=4096)
    gate: Literal["switch", "hard", "soft", "straight_through"] = "switch"
    activation: Literal["softmax", "sigmoid", "linear"] = "softmax"
    router_input: Literal["embedding", "demon"] = "embedding"
    residual: bool = False
    balance_loss_weight: float = Field(default=0.01, ge=0)
    demon_encoder: Literal["convolution", "kernel"] = "convolution"
    demon_units: int = Field(default=64, ge=1, le=4096)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class AugmentationSettings(Settings):
    """What is done to training segments.

    Attributes:
        time_shift: Largest share of a segment that its image is rolled by.
        frequency_masks: Bands of frequencies that are blanked (SpecAugment).
        frequency_width: Largest share of all frequencies in one.
        time_masks: Spans of time that are blanked (SpecAugment).
        time_width: Largest share of the segment in one.
        mixup: Parameter alpha of the share of another segment that is mixed in; 0 for none.
        noise_snr: Least and most dB of the segment over white noise that is added to it; None
            for none. Features are then computed anew in each step.
    """

    time_shift: float = Field(default=0.5, ge=0, le=1)
    frequency_masks: int = Field(default=1, ge=0, le=10)
    frequency_width: float = Field(default=0.15, ge=0, lt=1)
    time_masks: int = Field(default=1, ge=0, le=10)
    time_width: float = Field(default=0.15, ge=0, lt=1)
    mixup: float = Field(default=0.2, ge=0, le=10)
    noise_snr: tuple[float, float] | None = None


class AcousticTrainSettings(TrainSettings):
    """Training settings, with defaults for two CPU cores.

    Attributes:
        class_weights: Weigh segments so that all classes count alike.
        label_smoothing: Share of the target that is spread over all classes.
        augmentation: What is done to training segments.
    """

    epochs: int = Field(default=24, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.02, ge=0, le=10)
    class_weights: bool = True
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    augmentation: AugmentationSettings = AugmentationSettings()


class EvaluationSettings(Settings):
    """How a model is judged.

    Attributes:
        dense_twin: Also train the network without routing, with one expert for all.
        baselines: Also train majority, logistic regressions and support vector machines.
        batch_size: Segments at once.
        unknown_below: Recordings whose highest probability is below are named "unknown" by
            `predict` and `listen`.
    """

    dense_twin: bool = True
    baselines: bool = True
    batch_size: int = Field(default=64, ge=1)
    unknown_below: float = Field(default=0.0, ge=0, lt=1)


class AcousticConfig(RunConfig):
    """All settings of an acoustic run.

    Example:
        >>> AcousticConfig().data.samples
        80000
    """

    domain: str = "acoustic"
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    train: AcousticTrainSettings = AcousticTrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
