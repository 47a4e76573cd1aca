"""Keras finds each of our classes again by the name under which it is saved."""

from __future__ import annotations

import importlib
import pkgutil

import keras

import moe_apps.layers
import moe_apps.models


def test_no_two_classes_are_saved_under_one_name():
    classes: list[type] = []
    for package in (moe_apps.layers, moe_apps.models):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            own = [v for v in vars(module).values() if isinstance(v, type)]
            classes += [cls for cls in own if cls.__module__ == found.name]
    name_of = keras.saving.get_registered_name
    registered = [cls for cls in classes if name_of(cls) != cls.__name__]
    assert len(registered) > 100
    for cls in registered:
        assert keras.saving.get_registered_object(name_of(cls)) is cls
