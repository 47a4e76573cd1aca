from __future__ import annotations

import pytest
from typer.testing import CliRunner

from moe_apps import registry
from moe_apps.cli import app
from moe_apps.demos import TABS
from moe_apps.demos.page import build
from moe_apps.errors import ConfigError


def test_tabs_are_of_domains_that_exist():
    assert set(TABS) <= set(registry.DOMAINS.names())


def test_a_domain_without_a_demo_is_refused():
    with pytest.raises(ConfigError, match=r"nosuch: has no demo; expected one of .*deraining"):
        build(["nosuch"])
    result = CliRunner().invoke(app, ["demo", "nosuch"])
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_the_tabs_asked_for_are_there():
    labels = [
        block.label for block in build(["deraining"]).blocks.values() if hasattr(block, "label")
    ]
    assert "Deraining" in labels
