"""Acoustic recognition systems."""

from moe_apps.models.acoustic.cmoe import CMoE
from moe_apps.models.acoustic.constant_q import ConstantQ
from moe_apps.models.acoustic.demon import Demon
from moe_apps.models.acoustic.features import AcousticFeatures
from moe_apps.models.acoustic.gate import CMoEGate
from moe_apps.models.acoustic.normalised_experts import NormalisedExperts
from moe_apps.models.acoustic.spectra_features import SpectraFeatures
from moe_apps.models.acoustic.spectrogram import Spectrogram

__all__ = [
    "AcousticFeatures",
    "CMoE",
    "CMoEGate",
    "ConstantQ",
    "Demon",
    "NormalisedExperts",
    "SpectraFeatures",
    "Spectrogram",
]
