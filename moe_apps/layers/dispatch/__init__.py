"""Dispatch: bringing tokens and experts together, dense, by capacity, or dropless."""

from moe_apps.layers.dispatch.capacity import Capacity
from moe_apps.layers.dispatch.dense import Dense
from moe_apps.layers.dispatch.dispatcher import Dispatcher, get_dispatcher
from moe_apps.layers.dispatch.dropless import Dropless

__all__ = ["Capacity", "Dense", "Dispatcher", "Dropless", "get_dispatcher"]
