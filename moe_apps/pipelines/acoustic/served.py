"""What a trained acoustic model answers with once it is exported: raw sound in, names out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_apps.models.acoustic import AcousticFeatures, CMoE
from moe_apps.pipelines.acoustic.answers import expert_share
from moe_apps.pipelines.acoustic.config import AcousticConfig, DataSettings
from moe_apps.pipelines.acoustic.prediction import run_classes
from moe_apps.pipelines.domain import Classification, Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

EXAMPLE_SECONDS = 0.25
LEAST_REST = 0.1
"""Of the hop: a shorter rest makes no segment, as in `segments.segments_of`."""


def served(run: RunFolder) -> Served:
    """The trained model with the signatures it is exported with; see `Domain.served`."""
    config = run.read_config(AcousticConfig)
    metrics = run.read_metrics()
    facts = metrics["data"]
    classes = run_classes(run)
    chosen = ("accuracy", "balanced_accuracy", "macro_f1", "segment_accuracy")
    card = {
        "system": config.model.name,
        "classes": list(classes),
        "trained_on": {
            name: facts[name] for name in ("source", "digest", "recordings", "ships", "split_by")
        },
        "test": {name: metrics["test"][name] for name in chosen},
        "licence": "model code: Apache-2.0; the weights follow the terms of the training data",
    }
    model = load_model(run.model_file)
    if isinstance(model.features, AcousticFeatures):
        return served_sound(model, classes, config.data, card)
    return served_spectra(model, classes, card)


def served_sound(
    model: CMoE, classes: tuple[str, ...], settings: DataSettings, card: Mapping[str, Any]
) -> Served:
    """Join a model with cutting into segments, as functions of TensorFlow tensors.

    `serving_default(waveform)` answers for recordings of any length and for their segments;
    `explain` adds the share of each expert; `segment(waveform)` takes segments of the model's own
    length, and is what classify requests go to.

    Args:
        model: the trained model.
        classes: names.
        settings: how recordings are cut.
        card: facts for people; inputs, outputs and rules are added.
    """
    recording = tf.TensorSpec((None, None), tf.float32, name="waveform")
    segment = tf.TensorSpec((None, settings.samples), tf.float32, name="waveform")
    names = tf.constant(classes)

    def answer(waveform: Any, explained: bool) -> dict[str, Any]:
        waveform = _checked(waveform)
        batch = tf.shape(waveform)[0]
        pieces = cut(waveform, settings)  # (batch * segments, samples)
        outputs = model.of_raw(pieces)
        probability = _by_segment(tf.nn.softmax(outputs["logits"]), batch)
        mean = tf.reduce_mean(probability, axis=1)
        found = {
            "class": _name(names, mean),
            "probability": mean,
            "segment_class": _name(names, probability),
            "segment_probability": probability,
        }
        if explained:
            share = _by_segment(expert_share(outputs["expert_weights"]), batch)
            found |= {"expert_share": tf.reduce_mean(share, axis=1), "segment_expert_share": share}
        return found

    @tf.function(input_signature=[recording], autograph=False)
    def serving_default(waveform: Any) -> dict[str, Any]:
        return answer(waveform, False)

    @tf.function(input_signature=[recording], autograph=False)
    def explain(waveform: Any) -> dict[str, Any]:
        return answer(waveform, True)

    @tf.function(input_signature=[segment], autograph=False)
    def one_segment(waveform: Any) -> dict[str, Any]:
        probability = tf.nn.softmax(model.of_raw(_checked(waveform))["logits"])
        return {"class": _name(names, probability), "probability": probability}

    rate = settings.sample_rate
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(EXAMPLE_SECONDS * rate)))
    return Served(
        model,
        {"serving_default": serving_default, "explain": explain, "segment": one_segment},
        {"waveform": noise.round(4).astype(np.float32)},
        {
            **card,
            "sample_rate": rate,
            "segment_seconds": settings.segment,
            "inputs": {
                "waveform": f"[batch, samples] float32, mono at {rate} Hz, in any unit; in "
                f"`segment` [batch, {settings.samples}]"
            },
            "outputs": {
                "class": "[batch] name of the likeliest class",
                "probability": "[batch, classes]: mean over the recording's segments",
                "segment_class": "[batch, segments]",
                "segment_probability": "[batch, segments, classes]",
                "expert_share": "[batch, experts], in explain: mean over segments",
                "segment_expert_share": "[batch, segments, experts], in explain",
            },
            "rules": [
                f"Segments are {settings.segment:g} s long and overlap by {settings.overlap:g} s; "
                f"what is left at the end: {settings.last}; recordings shorter than a segment: "
                f"{_short_policy(settings)}.",
                "All recordings of a batch have the same length; each one's answer does not "
                "depend on the others.",
                "Level and offset do not matter. NaN and infinity are refused.",
            ],
        },
        classification=Classification("segment", "probability", classes),
    )


def served_spectra(model: CMoE, classes: tuple[str, ...], card: Mapping[str, Any]) -> Served:
    """The same for a model of spectra that were computed elsewhere."""
    lengths = model.features.lengths
    shape = (max(lengths), len(lengths))
    names = tf.constant(classes)
    spec = tf.TensorSpec((None, *shape), tf.float32, name="spectra")

    def answer(spectra: Any, explained: bool) -> dict[str, Any]:
        outputs = model.of_raw(_checked(spectra))
        probability = tf.nn.softmax(outputs["logits"])
        found = {"class": _name(names, probability), "probability": probability}
        if explained:
            found["expert_share"] = expert_share(outputs["expert_weights"])
        return found

    @tf.function(input_signature=[spec], autograph=False)
    def serving_default(spectra: Any) -> dict[str, Any]:
        return answer(spectra, False)

    @tf.function(input_signature=[spec], autograph=False)
    def explain(spectra: Any) -> dict[str, Any]:
        return answer(spectra, True)

    example = np.random.default_rng(0).gamma(2.0, size=(1, *shape)).round(3)
    return Served(
        model,
        {"serving_default": serving_default, "explain": explain},
        {"spectra": example.astype(np.float32)},
        {
            **card,
            "inputs": {"spectra": f"[batch, {shape[0]}, {shape[1]}] float32, not below 0"},
            "outputs": {
                "class": "[batch] name of the likeliest class",
                "probability": "[batch, classes]",
                "expert_share": "[batch, experts], in explain",
            },
            "rules": [f"The kinds of spectra have {lengths} bins; what is beyond is not read."],
        },
        classification=Classification("serving_default", "probability", classes),
    )


def cut(waveform: Any, settings: DataSettings) -> Any:
    """Segments `(batch * segments, samples)` of recordings, as `segments.segments_of` cuts them.

    Of recordings shorter than a segment, one is made in any case.
    """
    length, hop = settings.samples, settings.hop
    total = tf.shape(waveform)[1]
    if _short_policy(settings) == "repeat":
        copies = tf.where(total < length, -(-length // total), 1)
        waveform = tf.tile(waveform, tf.stack([1, copies]))
        total = tf.where(total < length, length, total)
    whole = tf.maximum((total - length) // hop, 0) + 1
    starts = tf.range(whole) * hop
    if settings.last != "drop":
        rest = total - (whole - 1) * hop - length
        one_more = tf.cast(tf.cast(rest, tf.float32) >= max(LEAST_REST * hop, 1), tf.int32)
        last = total - length if settings.last == "shift" else whole * hop
        starts = tf.concat([starts, tf.repeat(last[None], one_more)], axis=0)
    waveform = tf.pad(waveform, [[0, 0], [0, length]])
    places = starts[:, None] + tf.range(length)[None]
    return tf.reshape(tf.gather(waveform, places, axis=1), (-1, length))


def _short_policy(settings: DataSettings) -> str:
    return "pad" if settings.short == "pad" else "repeat"


def _by_segment(values: Any, batch: Any) -> Any:
    width = values.shape[-1]
    return tf.ensure_shape(tf.reshape(values, tf.stack([batch, -1, width])), (None, None, width))


def _name(names: Any, probability: Any) -> Any:
    return tf.gather(names, keras.ops.argmax(probability, axis=-1))


def _checked(values: Any) -> Any:
    checks = [
        tf.debugging.assert_greater_equal(
            tf.size(values), 1, "expected at least 1 recording and 1 sample"
        ),
        tf.debugging.assert_all_finite(values, "expected finite numbers, found NaN or infinity"),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(values)
