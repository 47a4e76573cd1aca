"""Every router and expert bank that can be had by name, ours and those of other packages."""

from __future__ import annotations

import inspect

import keras
import pytest

from moe_apps.registry import EXPERT_BANKS, ROUTERS

BANK = {"num_experts": 4, "hidden_dim": 6}
CLASSES = [(ROUTERS.get(name), {"num_experts": 4}) for name in ROUTERS.names()]
CLASSES += [(EXPERT_BANKS.get(name), BANK) for name in EXPERT_BANKS.names()]


def arguments(cls: type) -> set[str]:
    """Names of the constructor's arguments, those of our base classes included."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base is keras.layers.Layer:
            return names
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    raise TypeError(f"{cls} is no Keras layer")


@pytest.mark.parametrize("cls, needed", CLASSES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_argument_is_stored_and_comes_back(cls, needed):
    layer = cls(**needed, name="layer")
    config = layer.get_config()
    for name in arguments(cls):
        assert hasattr(layer, name), f"{cls.__name__} does not store `{name}`"
        assert name in config, f"{cls.__name__}.get_config leaves `{name}` out"
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is cls
    assert again.get_config() == config


def test_ours_are_known():
    assert "top_k" in ROUTERS.names()
    assert {"ffn", "swiglu"} <= set(EXPERT_BANKS.names())
