"""CMoE: a convolutional front end, a routing layer, and a classifier for each kind of sound."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras import layers, ops

from moe_apps.layers import MLPExperts, MoE
from moe_apps.models.acoustic.dense_head import DenseHead, SingleExpert
from moe_apps.models.acoustic.features import AcousticFeatures
from moe_apps.models.acoustic.gate import CMoEGate
from moe_apps.models.acoustic.normalised_experts import NormalisedExperts
from moe_apps.models.acoustic.presets import RESNET_PRESETS
from moe_apps.models.acoustic.resnet import resnet
from moe_apps.models.acoustic.spectra_features import SpectraFeatures
from moe_apps.models.acoustic.spectrum_encoder import SPECTRUM_ENCODERS, spectrum_encoder

ROUTER_INPUTS = ("embedding", "demon")


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class CMoE(keras.Model):
    """Convolution-based mixture of experts that names the source of a sound.

    A residual network turns the time-frequency image of a segment into an embedding r; with a
    DEMON spectrum, a small network of its own adds to it. The routing layer sends r to the expert
    with the highest score, and the expert's logits are the answer:
    `logits = w_e expert_e(r) [+ expert_R(r)]`, w by the gate (see `CMoEGate`), expert_R the
    residual expert of RCMoE, always on.

    Source: Xie et al. 2024, "Unraveling Complex Data Diversity in Underwater Acoustic Target
    Recognition through Convolution-based Mixture of Experts", arXiv 2402.11919, and its released
    code; `router_input="demon"` after DEMONet, Xie et al. 2024, arXiv 2411.02758. The released
    code has gate "hard", activation "sigmoid", 8 experts of one dense layer, ResNet-18 with
    average pooling and no DEMON input.

    Args:
        classes: number of classes.
        features: layer that makes the inputs from waveforms, or None where they are given.
        image_shape: `(time, frequency)` of the image, or None for none.
        demon_shape: `(bins,)` of the DEMON spectrum, or `(bins, kinds)` of several; None for none.
        front_end: name of `RESNET_PRESETS`.
        pooling: of `resnet`. Default "average".
        num_experts: Default 8. With 1 there is no routing: the dense twin.
        expert_hidden: width of `NormalisedExperts`; 0 (default) for one dense layer an expert.
        gate, activation, balance_loss_weight: of `CMoEGate`.
        router_input: "embedding" (default) or "demon".
        residual: add the residual expert. Default False.
        demon_encoder: "convolution" (default) or "kernel" (see `spectrum_encoder`).
        demon_units: width of what the DEMON network adds to the embedding. Default 64.
        dropout: share of the embedding that is left out in training. Default 0.2.
        label_smoothing: share of the target that is spread over all classes. Default 0.
        dtype: policy of the layers; logits and routing are float32 in any case.

    Inputs of a call: dict of `image` `(batch, time, frequency)` and `demon` `(batch, bins)`, as
    far as there are such, in decibels as `features` gives them.

    Outputs: dict, float32: `logits` `(batch, classes)`, `embedding` `(batch, n)`,
    `expert_weights` `(batch, experts)` (0: not chosen) and `router_scores` `(batch, experts)`.

    Example:
        >>> model = CMoE(classes=4, image_shape=(39, 32), front_end="tiny")
        >>> tuple(model({"image": ops.zeros((2, 39, 32))})["logits"].shape)
        (2, 4)
    """

    def __init__(
        self,
        classes: int,
        features: AcousticFeatures | SpectraFeatures | dict[str, Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        demon_shape: tuple[int, ...] | None = None,
        front_end: str = "small",
        pooling: str = "average",
        num_experts: int = 8,
        expert_hidden: int = 0,
        gate: str = "switch",
        activation: str = "softmax",
        balance_loss_weight: float = 1e-2,
        router_input: str = "embedding",
        residual: bool = False,
        demon_encoder: str = "convolution",
        demon_units: int = 64,
        dropout: float = 0.2,
        label_smoothing: float = 0.0,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_known("front_end", front_end, RESNET_PRESETS)
        _check_known("router_input", router_input, ROUTER_INPUTS)
        _check_known("demon_encoder", demon_encoder, SPECTRUM_ENCODERS)
        if image_shape is None and demon_shape is None:
            raise ValueError("there must be an image or a DEMON spectrum to look at")
        if router_input == "demon" and demon_shape is None:
            raise ValueError('`router_input="demon"` needs a DEMON spectrum')
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

        # === Layers ===
        parts: dict[str, layers.Normalization] = {}
        if image_shape is not None:
            parts["image"] = layers.Normalization(axis=-1, dtype="float32", name="image_scale")
        if demon_shape is not None:
            axes = tuple(range(1, 1 + len(demon_shape)))
            parts["demon"] = layers.Normalization(axis=axes, dtype="float32", name="demon_scale")
        head = _head(
            classes,
            num_experts,
            expert_hidden,
            CMoEGate(
                gate,
                activation,
                math.prod(demon_shape or ()) if router_input == "demon" else 0,
                balance_loss_weight,
                name="router",
            ),
            residual,
        )

        # === Functional model ===
        inputs, found, context = {}, [], None
        if image_shape is not None:
            inputs["image"] = keras.Input(tuple(image_shape), name="image")
            image = parts["image"](inputs["image"])
            image = layers.Reshape((*image_shape, 1), dtype=policy, name="channel")(image)
            sizes = RESNET_PRESETS[front_end]
            found.append(resnet(image, pooling=pooling, dtype=policy, **sizes))
        if demon_shape is not None:
            inputs["demon"] = keras.Input(tuple(demon_shape), name="demon")
            demon = parts["demon"](inputs["demon"])
            found.append(spectrum_encoder(demon, demon_encoder, units=demon_units, dtype=policy))
            context = layers.Flatten(dtype="float32", name="demon_context")(demon)
        embedding = (
            layers.Concatenate(dtype="float32", name="embedding")(found)
            if len(found) > 1
            else layers.Activation("linear", dtype="float32", name="embedding")(found[0])
        )
        dropped = layers.Dropout(dropout, dtype="float32", name="embedding_dropout")(embedding)
        asked = {"context": context} if router_input == "demon" else {}
        logits, routing = head(dropped, return_routing=True, **asked)
        super().__init__(
            inputs,
            {
                "logits": logits,
                "embedding": embedding,
                "expert_weights": routing["weights"],
                "router_scores": routing["probabilities"],
            },
            **kwargs,
        )

        # === Config ===
        self.features: Any = (
            keras.saving.deserialize_keras_object(features)
            if isinstance(features, dict)
            else features
        )
        self.scales = parts
        self.head = head
        self.policy = policy
        self.label_smoothing = label_smoothing
        self.settings: dict[str, Any] = {
            "classes": classes,
            "image_shape": None if image_shape is None else tuple(image_shape),
            "demon_shape": None if demon_shape is None else tuple(demon_shape),
            "front_end": front_end,
            "pooling": pooling,
            "num_experts": num_experts,
            "expert_hidden": expert_hidden,
            "gate": gate,
            "activation": activation,
            "balance_loss_weight": balance_loss_weight,
            "router_input": router_input,
            "residual": residual,
            "demon_encoder": demon_encoder,
            "demon_units": demon_units,
            "dropout": dropout,
            "label_smoothing": label_smoothing,
        }

    def set_statistics(self, inputs: dict[str, Any]) -> None:
        """Take what does not learn by gradients from inputs of the training part."""
        for name, scale in self.scales.items():
            scale.adapt(inputs[name])
        if self.settings["demon_encoder"] == "kernel" and "demon" in self.scales:
            spectra = ops.convert_to_numpy(self.scales["demon"](inputs["demon"]))
            self.get_layer("demon_embedding").adapt(spectra.reshape(len(spectra), -1))

    def of_raw(self, raw: Any, training: bool = False) -> dict[str, Any]:
        """The outputs for what `features` takes: segments `(batch, samples)`, or spectra."""
        found = self.features(raw)
        return self({name: found[name] for name in self.scales}, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Cross-entropy with targets `y` `(batch, classes)`, and the losses of the routing."""
        entropy = keras.losses.categorical_crossentropy(
            ops.cast(y, "float32"),
            y_pred["logits"],
            from_logits=True,
            label_smoothing=self.label_smoothing,
        )
        if sample_weight is not None:
            entropy = entropy * ops.cast(sample_weight, "float32")
        total = ops.mean(entropy)
        for loss in self.losses:
            total = total + loss
        return total

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **self.settings,
            "features": None
            if self.features is None
            else keras.saving.serialize_keras_object(self.features),
            "dtype": keras.saving.serialize_keras_object(self.policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> CMoE:
        # Keras would rebuild a functional model from its layers; the arguments say it all.
        return cls(**config)


def _check_known(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}. Received: {value!r}")


def _head(
    classes: int, num_experts: int, expert_hidden: int, gate: CMoEGate, residual: bool
) -> MoE | DenseHead:
    """Experts in float32, as the logits are."""

    def bank(count: int, name: str) -> NormalisedExperts | MLPExperts:
        if expert_hidden:
            return NormalisedExperts(count, expert_hidden, classes, dtype="float32", name=name)
        return MLPExperts(count, (classes,), output_activation=None, dtype="float32", name=name)

    def single(name: str) -> SingleExpert:
        return SingleExpert(bank(1, f"{name}_bank"), dtype="float32", name=name)

    shared = single("residual") if residual else None
    if num_experts == 1:
        return DenseHead(single("expert"), shared, dtype="float32", name="head")
    return MoE(
        gate,
        bank(num_experts, "experts"),
        shared=shared,
        # A handful of dense layers: all at once cost less than to sort the rows, and batch
        # normalisation has to see them all.
        dispatch="dense",
        dtype="float32",
        name="head",
    )
