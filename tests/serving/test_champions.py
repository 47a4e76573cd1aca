"""Which version of a registered model is the champion."""

from __future__ import annotations

import pytest

from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.serving.champions import better, crown

JUDGED = {"metric": "mse", "value": "0.5", "higher_is_better": "False", "test_digest": "77b0"}


@pytest.mark.parametrize(
    ("change", "is_better"),
    [
        ({"value": "0.4"}, True),
        ({"value": "0.6"}, False),
        ({"value": "0.5"}, False),
        ({"value": "nan"}, False),
        ({"value": "0.4", "test_digest": "0f3a"}, False),
        ({"value": "0.4", "metric": "mae"}, False),
    ],
)
def test_better_by_the_same_metric_on_the_same_test_part(change, is_better) -> None:
    assert better({**JUDGED, **change}, JUDGED) is is_better
    higher = {**JUDGED, "higher_is_better": "True"}
    expected = change == {"value": "0.6"}
    assert better({**higher, **change}, higher) is expected


def test_any_value_is_better_than_none() -> None:
    without = {name: text for name, text in JUDGED.items() if name != "value"}
    assert better(JUDGED, without) and not better(without, JUDGED)
    unknown = {name: text for name, text in JUDGED.items() if name != "test_digest"}
    assert not better({**unknown, "value": "0.1"}, unknown)


def test_the_alias_moves_to_what_is_better(tracking_store: str) -> None:
    client = quiet_client(tracking_store)
    client.create_registered_model("crowned")

    def add(**change: str) -> bool:
        judged = {**JUDGED, **change}
        made = client.create_model_version("crowned", "file:///nowhere", tags=judged)
        return crown(client, "crowned", str(made.version), judged)

    def champion() -> str:
        return str(client.get_model_version_by_alias("crowned", "champion").version)

    assert add() and champion() == "1"
    assert not add(value="0.6") and champion() == "1"
    assert not add(value="0.1", test_digest="0f3a") and champion() == "1"
    assert add(value="0.4") and champion() == "4"
