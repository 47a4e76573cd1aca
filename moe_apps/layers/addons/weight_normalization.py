"""Weight normalisation."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "weight_normalization",
    paper="Salimans & Kingma 2016, arXiv 1602.07868",
    purpose="learns length and direction of a kernel apart",
)
class WeightNormalization(keras.layers.Wrapper):
    """Learns the length and the direction of a layer's kernel apart.

    For each output (last axis of the kernel): `kernel = g * v / |v|`. `g` is trained beside `v`,
    which is the layer's own kernel variable; for recurrent layers it is the recurrent kernel.

    At first `g = |v|`, so that the layer is what it was. With `data_init`, the first training
    step looks at the outputs `y` before the activation: then `g = 1 / std(y)` and the bias is
    `-mean(y) / std(y)`. This is what tensorflow-addons does; the paper means `y` of the kernel
    `v / |v|`, whose outputs it makes standard. Values found in the data are kept apart from `g`
    and the bias, as `g_from_data` and `bias_from_data`, and added to them.

    Source: Salimans & Kingma 2016, "Weight Normalization", arXiv 1602.07868.

    Args:
        layer: a layer with a `kernel`, or a recurrent one.
        data_init: see above; not for recurrent layers. Default True.

    Call arguments:
        inputs: as the layer's.

    Example:
        >>> layer = WeightNormalization(keras.layers.Dense(5), data_init=False)
        >>> tuple(layer(keras.random.normal((2, 3))).shape)
        (2, 5)
    """

    def __init__(self, layer: keras.layers.Layer, data_init: bool = True, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if data_init and isinstance(layer, keras.layers.RNN):
            raise ValueError("Recurrent layers need `data_init=False`.")
        self.data_init = data_init
        self.supports_masking = layer.supports_masking
        self.autocast = False  # kernels are normalised in full precision; the layer casts

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if self.v is None:
            raise ValueError(f"`layer` must have a `kernel`. Received: {self.layer}")
        shape = self.v.shape[-1:]
        self.g = self.add_weight(
            name="g",
            shape=shape,
            dtype=self.v.dtype,
            initializer="ones" if self.data_init else lambda *_, **__: self._length(),
        )
        if self.data_init:
            settings = {"initializer": "zeros", "trainable": False, "aggregation": "mean"}
            self.g_from_data = self.add_weight(name="g_from_data", shape=shape, **settings)
            self.bias_from_data = self.add_weight(name="bias_from_data", shape=shape, **settings)
            # 1 after the first training step.
            self.initialized = self.add_weight(name="initialized", shape=(), **settings)
        self.built = True

    @property
    def v(self) -> Any:
        """The kernel variable of the layer, whose direction counts."""
        if isinstance(self.layer, keras.layers.RNN):
            return self.layer.cell.recurrent_kernel
        return getattr(self.layer, "kernel", None)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self.data_init and training:
            self._look_at(inputs)
        outputs, fixed = self._run_layer(inputs, self._effective())
        for variable, value in zip(self.layer.non_trainable_variables, fixed, strict=True):
            if variable is not self.v:  # it is among these when the layer is frozen
                variable.assign(value)
        return outputs

    def _length(self) -> Any:
        """The length of the kernel of each output."""
        axes = tuple(range(len(self.v.shape) - 1))
        return ops.sqrt(ops.maximum(ops.sum(ops.square(self.v), axis=axes), 1e-12))

    def _effective(self) -> list[tuple[Any, Any]]:
        """The layer's variables that are replaced, with what takes their place."""
        direction = self.v / self._length()
        if not self.data_init:
            return [(self.v, direction * self.g)]
        replaced = [(self.v, direction * (self.g + self.g_from_data))]
        bias = getattr(self.layer, "bias", None)
        if bias is not None:
            replaced.append((bias, bias + self.bias_from_data))
        return replaced

    def _look_at(self, inputs: Any) -> None:
        """At the first call, set what comes from data."""
        weights = [self.g_from_data, self.bias_from_data]

        def from_data() -> list[Any]:
            activation, self.layer.activation = self.layer.activation, keras.activations.linear
            try:
                outputs = ops.cast(self._run_layer(inputs, [])[0], self.v.dtype)
            finally:
                self.layer.activation = activation
            mean, variance = ops.moments(outputs, axes=tuple(range(len(outputs.shape) - 1)))
            scale = ops.rsqrt(variance + 1e-10)
            bias = getattr(self.layer, "bias", None)
            return [self.g * (scale - 1), -mean * scale - (0 if bias is None else bias)]

        known = ops.cast(self.initialized, "bool")
        values = ops.cond(known, lambda: [ops.copy(weight) for weight in weights], from_data)
        for weight, value in zip(weights, values, strict=True):
            weight.assign(ops.stop_gradient(value))
        self.initialized.assign(ops.ones(()))

    def _run_layer(self, inputs: Any, replaced: list[tuple[Any, Any]]) -> Any:
        """The layer's outputs and new state, with other values for some of its variables."""
        values = {id(variable): value for variable, value in replaced}
        trainable, fixed = (
            [values.get(id(variable), variable.value) for variable in variables]
            for variables in (self.layer.trainable_variables, self.layer.non_trainable_variables)
        )
        return self.layer.stateless_call(trainable, fixed, inputs)

    def remove(self) -> keras.layers.Layer:
        """The layer with the normalised kernel for its own, for use without this wrapper."""
        for variable, value in self._effective():
            variable.assign(value)
        return self.layer

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_init": self.data_init}
