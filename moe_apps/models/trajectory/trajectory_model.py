"""A model of trajectories and intention around any encoder: features, heads, loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.models.trajectory import losses
from moe_apps.models.trajectory.features import (
    FEATURES,
    SURROUNDINGS,
    TrackFeatures,
    constant_velocity,
    surroundings,
)
from moe_apps.models.trajectory.tasks import INTENTIONS, TASKS

SITE_DIM = 8
LEAST_DEVIATION = 1e-3


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TrajectoryModel(keras.Model):
    """Predicts where a vehicle will be and what its driver is about to do.

    Positions become features in the graph; an encoder gives a vector to each of the three tasks,
    and a head of two layers answers. The trajectory is the constant-velocity one plus what the
    heads add, in units of the deviation that constant velocity has at each step in the training
    part (`set_statistics`).

    With `multimodal`, there is a trajectory for each intention, and the loss counts that of the
    true one; the point forecast is their mean, weighted by the intention's probabilities. With
    `gaussian`, each step has a bivariate Gaussian. The means are trained by the squared error and
    the covariance by the likelihood of what is left, so that a large variance cannot excuse a bad
    mean (Seitzer et al. 2022, arXiv 2203.09168).

    Args:
        encoder: layer `(features, context) -> {task: (batch, n)}, gates or None`.
        history_steps: steps that are read, the present one included.
        horizon: steps that are predicted.
        rate: steps a second.
        velocity_span: steps that the present velocity is taken over.
        head_dim: width of the heads' hidden layer.
        multimodal: see above. Default True.
        gaussian: see above. Default True.
        nll_weight: factor of the likelihood in the loss. Default 0.2.
        context: give the encoder the surroundings (density, speed class, size of vehicle, and the
            site if `sites` is not 0) as a context. Default False.
        sites: number of known sites; 0 of the input `site` is an unknown one.
        weighting: weigh the tasks by learned uncertainties; else by 1. Default True.

    Inputs of a call: the dict of `TrackFeatures`, and `site` `(batch,)` int where there are sites.
    Outputs: dict, all float32, in metres from the last position:

        - `longitudinal`, `lateral` `(batch, modes, horizon)`;
        - `intention` `(batch, 3)` logits;
        - with `gaussian`, `deviation` `(batch, modes, horizon, 2)` and `correlation`
          `(batch, modes, horizon)`;
        - `gates` `(batch, 3, experts)` where the encoder has some.

    Example:
        >>> from moe_apps.models.trajectory import tmmoe
        >>> model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0)
        >>> tuple(model(model.example(batch=2))["lateral"].shape)
        (2, 3, 5)
    """

    def __init__(
        self,
        encoder: Any,
        history_steps: int,
        horizon: int,
        rate: float,
        velocity_span: int = 3,
        head_dim: int = 64,
        multimodal: bool = True,
        gaussian: bool = True,
        nll_weight: float = 0.2,
        context: bool = False,
        sites: int = 0,
        weighting: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < velocity_span < history_steps:
            raise ValueError(
                f"`velocity_span` must be from 1 to below the {history_steps} steps of history. "
                f"Received: {velocity_span}"
            )
        self.encoder = (
            keras.saving.deserialize_keras_object(encoder) if isinstance(encoder, dict) else encoder
        )
        self.history_steps, self.horizon, self.rate = history_steps, horizon, rate
        self.velocity_span, self.head_dim = velocity_span, head_dim
        self.multimodal, self.gaussian, self.nll_weight = multimodal, gaussian, nll_weight
        self.context, self.sites, self.weighting = context, sites, weighting
        self.autocast = False  # metres stay float32 under mixed precision; the encoder casts
        self.modes = len(INTENTIONS) if multimodal else 1
        self.features = TrackFeatures(rate, name="features")
        self.features.build()
        self.site_embedding = (
            keras.layers.Embedding(sites + 1, SITE_DIM, name="site") if context and sites else None
        )
        self.uncertainty = losses.UncertaintyWeighting(name="uncertainty")
        self.uncertainty.build()
        self.uncertainty.trainable = weighting
        self.reach = self.add_weight(
            name="reach", shape=(horizon, 2), initializer="ones", trainable=False
        )
        self._build_parts()

    def _build_parts(self) -> None:
        steps = self.modes * self.horizon
        sizes = {"longitudinal": steps, "lateral": steps, "intention": len(INTENTIONS)}
        if self.gaussian:  # the two deviations stand by their task, the correlation by the second
            sizes["longitudinal"], sizes["lateral"] = 2 * steps, 3 * steps
        self.heads = {
            task: [
                keras.layers.Dense(
                    self.head_dim, "relu", dtype=self.encoder.dtype_policy, name=f"{task}_hidden"
                ),
                keras.layers.Dense(
                    size,
                    kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
                    dtype="float32",
                    name=f"{task}_output",
                ),
            ]
            for task, size in sizes.items()
        }
        self.head_layers = [layer for head in self.heads.values() for layer in head]
        context = (1, SURROUNDINGS) if self.context else None
        if self.site_embedding is not None:
            self.site_embedding.build((None,))
            context = (1, SURROUNDINGS + SITE_DIM)
        features = (1, self.history_steps, len(FEATURES))
        if not self.encoder.built:
            self.encoder.build(features, context)
        answers, _ = self.encoder(ops.zeros(features), ops.zeros(context) if context else None)
        for task, (hidden, output) in self.heads.items():
            hidden.build(answers[task].shape)
            output.build((None, self.head_dim))
        self.built = True

    def example(self, batch: int = 1) -> dict[str, Any]:
        """Inputs of the right shapes: a vehicle alone at 20 m/s in the middle of its lane."""
        way = ops.arange(self.history_steps, dtype="float32") * (20.0 / self.rate)
        along = ops.broadcast_to(way[None, :, None], (batch, self.history_steps, 1))
        inputs = {
            "ego": ops.concatenate([along, ops.zeros_like(along)], axis=-1),
            "neighbours": ops.zeros((batch, self.history_steps, 6, 2)),
            "present": ops.zeros((batch, self.history_steps, 6)),
            "lane_offset": ops.zeros((batch, self.history_steps)),
            "lanes_beside": ops.ones((batch, self.history_steps, 2)),
            "length": ops.full((batch,), 4.5),
        }
        if self.site_embedding is not None:
            inputs["site"] = ops.zeros((batch,), "int32")
        return inputs

    def set_statistics(self, mean: Any, deviation: Any, reach: Any) -> None:
        """Set what scales inputs and outputs.

        Args:
            mean: `(len(FEATURES),)` of the raw features in training.
            deviation: the same of their standard deviation.
            reach: `(horizon, 2)`, deviation of truth from constant velocity in training, metres.
        """
        self.features.set_statistics(mean, deviation)
        self.reach.assign(ops.maximum(reach, LEAST_DEVIATION))

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        inputs = {
            name: value if name == "site" else ops.cast(value, "float32")
            for name, value in inputs.items()
        }
        context = self._context(inputs) if self.context else None
        answers, gates = self.encoder(self.features(inputs), context, training=training)
        raw = {}
        for task, (hidden, output) in self.heads.items():
            raw[task] = ops.cast(output(hidden(answers[task])), "float32")
        base = constant_velocity(inputs["ego"], self.rate, self.velocity_span, self.horizon)
        outputs = {"intention": raw["intention"], **self._trajectories(raw, base)}
        if gates is not None:
            outputs["gates"] = ops.cast(gates, "float32")
        return outputs

    def _context(self, inputs: dict[str, Any]) -> Any:
        context = surroundings(inputs, self.rate, self.velocity_span)
        if self.site_embedding is None:
            return context
        return ops.concatenate([context, self.site_embedding(inputs["site"])], axis=-1)

    def _trajectories(self, raw: dict[str, Any], base: Any) -> dict[str, Any]:
        outputs, deviations = {}, []
        for axis, task in enumerate(TASKS[:2]):
            parts = ops.reshape(raw[task], (-1, raw[task].shape[-1] // self.horizon, self.horizon))
            parts = ops.split(parts, parts.shape[1] // self.modes, axis=1)
            reach = self.reach[:, axis]
            outputs[task] = base[:, None, :, axis] + parts[0] * reach
            if self.gaussian:
                # softplus(0.55) is 1: at first the deviation is that of constant velocity.
                deviations.append(ops.softplus(parts[1] + 0.55) * reach + LEAST_DEVIATION)
            if len(parts) == 3:
                outputs["correlation"] = 0.95 * ops.tanh(parts[2])
        if self.gaussian:
            outputs["deviation"] = ops.stack(deviations, axis=-1)
        return outputs

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Loss of a batch; `y` has `future` `(batch, horizon, 2)` in metres and `intention`."""
        future, intention = ops.cast(y["future"], "float32"), ops.cast(y["intention"], "int32")
        logits = y_pred["intention"]
        weights = losses.mode_weights(intention, ops.softmax(logits), self.modes)
        errors = [
            losses.squared_error(
                future[..., axis] / self.reach[:, axis],
                y_pred[task] / self.reach[:, axis],
                weights,
            )
            for axis, task in enumerate(TASKS[:2])
        ]
        errors.append(losses.cross_entropy(intention, logits))
        total = self.uncertainty(ops.stack(errors))
        if self.gaussian:
            mean = ops.stack([y_pred[task] for task in TASKS[:2]], axis=-1)
            nll = losses.gaussian_nll(
                (future[:, None] - ops.stop_gradient(mean)) / self.reach,
                y_pred["deviation"] / self.reach,
                y_pred["correlation"],
            )  # (batch, modes, horizon)
            nll = ops.mean(ops.sum(ops.mean(nll, axis=-1) * weights, axis=-1))
            total = total + self.nll_weight * nll
        return total

    def log_variances(self) -> dict[str, float]:
        """The learned log-variance of each task, by name."""
        values = ops.convert_to_numpy(self.uncertainty.log_variance)
        return {task: float(value) for task, value in zip(TASKS, values, strict=True)}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "history_steps": self.history_steps,
            "horizon": self.horizon,
            "rate": self.rate,
            "velocity_span": self.velocity_span,
            "head_dim": self.head_dim,
            "multimodal": self.multimodal,
            "gaussian": self.gaussian,
            "nll_weight": self.nll_weight,
            "context": self.context,
            "sites": self.sites,
            "weighting": self.weighting,
        }


def point_forecast(outputs: dict[str, Any]) -> Any:
    """The mean of the modes, `(batch, horizon, 2)`, from a model's outputs.

    Example:
        >>> from moe_apps.models.trajectory import tmmoe
        >>> model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0)
        >>> tuple(point_forecast(model(model.example(batch=2))).shape)
        (2, 5, 2)
    """
    modes = ops.stack([outputs[task] for task in TASKS[:2]], axis=-1)  # (batch, modes, horizon, 2)
    if modes.shape[1] == 1:
        return modes[:, 0]
    return ops.sum(modes * ops.softmax(outputs["intention"])[..., None, None], axis=1)
