"""A model as the settings describe it, its twins, and how it is compiled and called."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError
from moe_apps.models.recommendation import SYSTEMS, Ranker, TaskLoss
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.optimisation import compile_model, precision, strategy_scope
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.item_graph import item_graph
from moe_apps.pipelines.recommendation.preprocessing import Arrays, Preprocessing
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.registry import ROUTERS

COMMON = ("tower_units", "dropout", "crossing")


def build_model(
    config: RecommendationConfig, preprocessing: Preprocessing, train: Table | None = None
) -> Ranker:
    """The model of the settings with fresh weights.

    Args:
        config: The settings.
        preprocessing: What training rows taught.
        train: Training rows, of which MAGNET takes its graph.

    Raises:
        ConfigError: Settings that do not go together, or with the schema.
    """
    own = _own(config, preprocessing)
    if config.model.name != "magnet":
        return _built(config, preprocessing, config.model.name, own)
    assert train is not None
    graph = item_graph(preprocessing, train)
    own |= {"user": graph.user, "item": graph.item, "content": graph.content}
    own |= {"num_edges": len(graph.taken), "num_content_edges": len(graph.alike)}
    model: Any = _built(config, preprocessing, "magnet", own)
    model.set_graph(graph.taken, graph.alike)
    return model


def build_twin(
    config: RecommendationConfig, preprocessing: Preprocessing, model: Ranker
) -> Ranker | None:
    """One network for all tasks with as many parameters as `model`; None where that is itself.

    Of an uplift model the twin is the same with one expert. Of AdaptDHM, whose row meets one
    cluster's network, it is that one network.
    """
    name = config.model.name
    if name == "shared_bottom":
        return None
    if name == "mtmt":
        own = {**_own(config, preprocessing), "num_experts": 1}
        return _built(config, preprocessing, name, own)
    if name == "adapt_dhm":
        units = model.get_config()["units"]
        return _built(config, preprocessing, "shared_bottom", {"units": units})
    last = _last_width(model)
    wanted = _size(model)

    def twin(width: int) -> Ranker:
        return _built(config, preprocessing, "shared_bottom", {"units": (width, last)})

    # Parameters grow linearly with the width of the first layer.
    small, large = (_size(twin(width)) for width in (8, 16))
    width = max(8 + round((wanted - small) / (large - small) * 8), 1)
    return twin(width)


def build_single(
    config: RecommendationConfig, preprocessing: Preprocessing, task: str, like: Ranker
) -> Ranker:
    """A network of the shape of the twin `like`, for one task alone."""
    units = like.get_config()["units"]
    return _built(config, preprocessing, "shared_bottom", {"units": units}, only=task)


def _size(model: Ranker) -> int:
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def _last_width(model: Ranker) -> int:
    units = model.get_config().get("units", (32,))
    return int(units[-1])


def _own(config: RecommendationConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    """The settings that the system's class takes."""
    settings = config.model
    taken = set(signature(SYSTEMS[settings.name].__init__).parameters)
    if settings.name == "cgc":
        taken = set(signature(SYSTEMS["ple"].__init__).parameters) - {"levels"}
    chosen = {
        name: value
        for name, value in settings.model_dump().items()
        if name in taken and name not in COMMON and value is not None
    }
    if "seed" in taken:
        chosen["seed"] = config.seed
    if settings.gate != "softmax":
        if "router" not in taken:
            raise ConfigError(f"model.gate: {settings.name} has no gates of its own to replace")
        chosen["router"] = _router(settings.gate, settings.k)
    if settings.name == "mtmt":
        if not preprocessing.treatments:
            raise ConfigError("model.name: mtmt needs a treatment column in the schema")
        chosen["treatments"] = len(preprocessing.treatments) - 1
    return chosen


def _router(name: str, k: int) -> Any:
    kind = ROUTERS.get(name)
    return kind(k=k) if "k" in signature(kind.__init__).parameters else kind()


def _built(
    config: RecommendationConfig,
    preprocessing: Preprocessing,
    name: str,
    own: dict[str, Any],
    only: str | None = None,
) -> Ranker:
    settings = config.model
    tasks = [task for task in preprocessing.tasks() if only in (None, task.name)]
    common = {one: getattr(settings, one) for one in COMMON}
    if name == "aw_moe":
        common.pop("tower_units")
    try:
        with strategy_scope(config.train):
            return SYSTEMS[name](
                preprocessing.fields(), tasks, **common, **own, dtype=precision(config.train)
            )
    except (ValueError, ImportError) as error:
        raise ConfigError(f"model: {str(error).splitlines()[0]}") from error


def compile_ranker(
    model: Ranker,
    config: RecommendationConfig,
    preprocessing: Preprocessing,
    batches_per_epoch: int,
) -> None:
    """Compile with each task's loss over the rows that have its label, weighted by the schema."""
    losses, weights = {}, {}
    for name in model.task_names:
        task = preprocessing.schema.task(name)
        probabilities = task.kind == "binary" and not model.from_logits
        kind = "mean_squared_error" if probabilities else task.loss
        losses[name] = TaskLoss(kind, name=f"{name}_loss")
        weights[name] = task.weight
    compile_model(
        model,
        config.train,
        loss=losses,
        loss_weights=weights,
        total_steps=config.train.epochs * batches_per_epoch,
    )


def answer_function(
    model: Ranker, batch_size: int = 4096
) -> Callable[[Arrays], dict[str, npt.NDArray[np.float32]]]:
    """A compiled `inputs by name [rows, ...] -> answers by task [rows]`, probabilities for binary.

    Regression stays standardised: `Preprocessing.in_units` gives the label's unit.
    """
    return _over_rows(
        model, lambda inputs: model.answers(model(inputs, training=False)), batch_size
    )


def gate_function(
    model: Ranker, batch_size: int = 4096
) -> Callable[[Arrays], dict[str, npt.NDArray[np.float32]]]:
    """A compiled `inputs -> weights of each gate [rows, experts]`."""
    return _over_rows(model, lambda inputs: model.explain(inputs, training=False)[1], batch_size)


def effect_function(
    model: Any, batch_size: int = 4096
) -> Callable[[Arrays], dict[str, npt.NDArray[np.float32]]]:
    """A compiled `inputs -> effect of each treatment by task [rows, treatments]` of MTMT."""
    return _over_rows(model, model.effects, batch_size)


def _over_rows(model: keras.Model, answer: Callable[..., Any], batch_size: int) -> Any:
    run = in_batches(model, answer, batch_size)

    def of_rows(inputs: Arrays) -> Any:
        rows = len(next(iter(inputs.values())))
        if not rows:
            raise ValueError("there are no rows to answer for")
        return run(dict(inputs))

    return of_rows
