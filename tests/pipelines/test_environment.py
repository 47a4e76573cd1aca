from __future__ import annotations

import keras

from moe_apps.pipelines.environment import describe_environment


def test_versions_and_hardware_are_named():
    found = describe_environment()
    assert found["keras"] == keras.__version__
    assert found["Devices"].startswith("cpu:0")
    assert found["Memory"].endswith(" GiB") and "cores" in found["Processor"]
    assert all(isinstance(value, str) and value for value in found.values())
