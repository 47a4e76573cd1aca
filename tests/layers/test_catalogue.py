from __future__ import annotations

from pathlib import Path

import pytest

from moe_apps.layers import TopK
from moe_apps.layers.catalogue import Card, construct, listed, markdown, rows
from moe_apps.registry import ROUTERS, Registry

LAYERS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"


def test_the_page_says_what_the_code_says():
    assert LAYERS_PAGE.read_text() == markdown(), "run `make docs`"


def test_every_entry_of_ours_has_one_line_that_says_all():
    table = list(rows())
    assert {row["kind"] for row in table} >= {"router", "expert bank"}
    for row in table:
        assert row["paper"] and row["purpose"], f"{row['name']} has no card"
        assert "|" not in row["paper"] + row["purpose"]


def test_a_card_is_no_heirloom():
    registry: Registry = Registry("thing")
    registry.register("child")(type("Child", (TopK,), {}))
    assert "card" not in vars(registry.get("child")) and registry.get("child").card is TopK.card


def test_a_listed_class_is_known_and_carries_its_card():
    registry: Registry = Registry("thing")
    cls = listed(registry, "mine", paper="A 2026", purpose="showing", causal=False)(
        type("CardTest", (), {"get_config": dict})
    )
    assert registry.get("mine") is cls
    assert cls.card == Card("A 2026", "showing", True, False, False)


def test_an_interpretation_is_explained_in_the_docstring():
    from moe_apps.layers.catalogue import KINDS

    for registry in KINDS.values():
        for name in registry.names():
            cls = registry.get(name)
            says = "Interpretation:" in (cls.__doc__ or "")
            if cls.__module__.startswith("moe_apps."):
                assert says == vars(cls)["card"].interpretation, name


@pytest.mark.parametrize("column", ["batch-independent", "causal"])
def test_the_page_has_a_table_for_each_kind(column):
    assert markdown().count(column) >= 2


def test_an_entry_gets_what_it_takes_and_says_what_it_lacks():
    assert construct(ROUTERS, "top_k", k=1, hidden_dim=3).k == 1
    with pytest.raises(ValueError, match="router 'mixer' needs `context_dim`, not given here"):
        construct(ROUTERS, "mixer", k=1)
