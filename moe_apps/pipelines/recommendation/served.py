"""What a trained recommender answers with once it is exported: raw texts and numbers in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

import numpy as np
import tensorflow as tf

from moe_apps.models.recommendation import MTMT, Ranker
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import CategoricalField, DenseField
from moe_apps.pipelines.recommendation.served_inputs import RawInputs

RULES = (
    "A missing number is NaN, a missing text is empty, a missing whole number is negative.",
    "A category that training did not know, or out of range, is answered as unknown.",
    "A sequence has its oldest value first; gaps in it are closed, and the last values count.",
    "A row's answer does not depend on the others in its batch.",
)


def served_ranker(
    model: Ranker,
    preprocessing: Preprocessing,
    example: Mapping[str, np.ndarray],
    card: Mapping[str, Any],
) -> Served:
    """Join a model with its preprocessing, as functions of raw TensorFlow tensors by field.

    `serving_default` gives each task's answer, a probability or a number in the label's unit;
    for uplift models that of the control, and `<task>_effect` `[rows, treatments]`. `explain`
    adds `gate_<name>` `[rows, experts]`. Where the schema has fields of group item, `rank` takes
    those as `[candidates]` and all others as `[1]`, for one user.

    Args:
        model: The trained model.
        preprocessing: Of its training rows.
        example: Raw values of a few rows, by name of field.
        card: Facts for people on data and results; inputs, outputs and rules are added.
    """
    raw = RawInputs(preprocessing)
    specs = raw.signature()
    of_items = {one.name for one in preprocessing.schema.fields if one.group == "item"}

    def answers(values: Mapping[str, Any]) -> dict[str, Any]:
        return _answers(model, preprocessing, raw(values))[0]

    def explained(values: Mapping[str, Any]) -> dict[str, Any]:
        found, gates = _answers(model, preprocessing, raw(values))
        return found | {f"gate_{_plain(name)}": weights for name, weights in gates.items()}

    def ranked(values: Mapping[str, Any]) -> dict[str, Any]:
        count = tf.shape(values[min(of_items)])[0]
        for name, value in values.items():
            if name not in of_items:
                message = f"rank is for one user: {name} must have one row"
                tf.debugging.assert_equal(tf.shape(value)[0], 1, message)
        return answers(
            {
                name: value if name in of_items else tf.repeat(value, count, axis=0)
                for name, value in values.items()
            }
        )

    signatures = {
        "serving_default": named_function(answers, specs),
        "explain": named_function(explained, specs),
    }
    if of_items and of_items != set(specs):
        signatures["rank"] = named_function(ranked, specs)
    return Served(
        model,
        signatures,
        {
            name: np.asarray(example[name], object if spec.dtype == tf.string else None)
            if spec.dtype == tf.string
            else np.asarray(example[name], spec.dtype.as_numpy_dtype)
            for name, spec in specs.items()
        },
        {**card, "inputs": _inputs(preprocessing), "outputs": _outputs(preprocessing, model)}
        | {"rules": RULES},
        resources=(raw,),
    )


def named_function(
    call: Callable[[Mapping[str, Any]], dict[str, Any]], specs: Mapping[str, tf.TensorSpec]
) -> Any:
    """A `tf.function` with one named argument for each spec, from a function of their dict."""
    signature = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in specs])

    def function(*arguments: Any, **named: Any) -> dict[str, Any]:
        return call(signature.bind(*arguments, **named).arguments)

    function.__signature__ = signature  # type: ignore[attr-defined]
    return tf.function(function, input_signature=list(specs.values()), autograph=False)


def _answers(
    model: Ranker, preprocessing: Preprocessing, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    outputs, gates = model.explain(inputs, training=False)
    answers = {name: tf.cast(value, tf.float32) for name, value in model.answers(outputs).items()}
    made = {name: _in_units(preprocessing, name, value) for name, value in answers.items()}
    if isinstance(model, MTMT):
        for name, effect in model.effects(inputs).items():
            scale = preprocessing.targets.get(name, (0.0, 1.0))[1]
            made[f"{name}_effect"] = effect * scale
    return made, gates


def _in_units(preprocessing: Preprocessing, task: str, values: Any) -> Any:
    mean, deviation = preprocessing.targets.get(task, (0.0, 1.0))
    return values * deviation + mean


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _inputs(preprocessing: Preprocessing) -> dict[str, str]:
    made = {}
    types = {one.name: one.type for one in preprocessing.schema.categorical}
    for one in preprocessing.schema.fields:
        if isinstance(one, DenseField):
            text = "[rows] float32: a number, in the unit of the training data"
        elif isinstance(one, CategoricalField):
            text = f"[rows] {'text' if one.type == 'string' else 'int64'}: a category"
        else:
            kind = "text" if types[one.of] == "string" else "int64"
            text = f"[rows, any] {kind}: values of {one.of}, the last {one.max_length} count"
        made[one.name] = text
    return made


def _outputs(preprocessing: Preprocessing, model: Ranker) -> dict[str, str]:
    made = {}
    for task in preprocessing.schema.tasks:
        what = "probability" if task.kind == "binary" else "value"
        made[task.name] = f"[rows] float32: {what} of `{task.label}`"
        if isinstance(model, MTMT):
            treatments = ", ".join(preprocessing.treatments[1:])
            made[task.name] += " without treatment"
            made[f"{task.name}_effect"] = (
                f"[rows, treatments] float32: what each of {treatments} adds to it"
            )
    return made
