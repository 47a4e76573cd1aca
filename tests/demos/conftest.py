"""Small runs of all domains, each made when it is first asked for, and a page on one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from moe_apps.demos.page import build, serve
from small_runs import SMALL_RUNS


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder in which there are runs of the domains that were asked for."""
    folder = tmp_path_factory.mktemp("runs")

    def of(*domains: str) -> Path:
        for name in domains:
            if not (folder / name).exists():
                SMALL_RUNS[name](folder / name)
        return folder

    return of


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest, small_runs: Callable[..., Path]) -> Iterator[Client]:
    """A program that asks the page of the module's `DOMAIN`."""
    domain = request.module.DOMAIN
    page = build([domain], small_runs(domain))
    yield Client(serve(page, port=0, wait=False), verbose=False)
    page.close()
