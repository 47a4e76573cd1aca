"""Looking at what the routers of a model decide for given examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
from keras import ops

from moe_apps.layers.routing.decision import RoutingDecision
from moe_apps.layers.routing.router import Router


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers of a model, those inside other layers too.

    Example:
        >>> from moe_apps.layers import FFNExperts, MoE, TopK
        >>> model = keras.Sequential([MoE(TopK(k=1), FFNExperts(2, 3))])
        >>> sorted(type(layer).__name__ for layer in all_layers(model))
        ['FFNExperts', 'MoE', 'TopK']
    """
    # Keras publishes the layers of the first level only, and routers lie deeper.
    return list(model._flatten_layers(include_self=False))


def routers_of(model: keras.Model) -> list[Router]:
    """All routers of a model."""
    return [layer for layer in all_layers(model) if isinstance(layer, Router)]


class RouterCall(NamedTuple):
    """One call of a router: the context it was given and its decision."""

    context: Any
    decision: RoutingDecision


def router_calls(model: keras.Model, examples: Any) -> dict[str, list[RouterCall]]:
    """What each router is given and decides at inference, by the router's path, in order.

    The model runs once, eagerly. Its metrics are no source for this: JAX' `fit` does not follow
    the metrics of layers.

    Args:
        model: a built model.
        examples: inputs of the model, as its call takes them.
    """
    with _recording(routers_of(model)) as calls:
        model(keras.tree.map_structure(ops.convert_to_tensor, examples), training=False)
    return calls


@contextmanager
def _recording(routers: list[Router]) -> Iterator[dict[str, list[RouterCall]]]:
    """Notes the calls of the routers while the block runs."""
    calls: dict[str, list[RouterCall]] = {router.path: [] for router in routers}

    def noting(call: Callable[..., RoutingDecision], path: str) -> Callable[..., RoutingDecision]:
        def noted(*args: Any, context: Any = None, **kwargs: Any) -> RoutingDecision:
            decision = call(*args, context=context, **kwargs)
            calls[path].append(RouterCall(context, decision))
            return decision

        return noted

    for router in routers:
        router.call = noting(router.call, router.path)  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        for router in routers:
            del router.call  # the method of the class shows again
