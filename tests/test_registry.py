from __future__ import annotations

import sys
from pathlib import Path

import pytest

from moe_apps.errors import ConfigError
from moe_apps.registry import DOMAINS, Registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a distribution that offers `entry_points`, the way a wheel does."""

    def write(name: str, entry_points: str, module: str = "") -> None:
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(entry_points)
        (tmp_path / f"{name}.py").write_text(module)
        monkeypatch.delitem(sys.modules, name, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    return write


def test_registered_entries_are_found_by_name() -> None:
    shapes: Registry[object] = Registry("shape")
    circle = object()
    assert shapes.register("circle")(circle) is circle
    assert shapes.get("circle") is circle
    assert shapes.names() == ["circle"]


def test_a_taken_name_is_refused() -> None:
    shapes: Registry[object] = Registry("shape")
    shapes.register("circle")("one")
    with pytest.raises(ValueError, match="shape 'circle' is registered already"):
        shapes.register("circle")("another")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    shapes: Registry[object] = Registry("shape")
    shapes.register("circle")(0)
    shapes.register("square")(1)
    with pytest.raises(ConfigError) as caught:
        shapes.get("circel")
    expected = "unknown shape 'circel': known are circle, square; did you mean 'circle'?"
    assert str(caught.value) == expected


def test_home_is_imported_before_the_first_look(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("shape_home", "", "import shape_registry\nshape_registry.shapes.register('dot')(0)\n")
    shapes: Registry[int] = Registry("shape", home="shape_home")
    module = type(sys)("shape_registry")
    module.shapes = shapes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shape_registry", module)
    assert shapes.names() == ["dot"]
    monkeypatch.delitem(sys.modules, "shape_home")


def test_another_package_can_add_an_entry(install) -> None:
    install("their_package", "[moe_apps.shapes]\nstar = their_package:STAR\n", "STAR = 'a star'\n")
    shapes: Registry[str] = Registry("shape", "moe_apps.shapes")
    assert shapes.names() == ["star"]
    assert "their_package" not in sys.modules, "names() imports nothing"
    assert shapes.get("star") == "a star"


def test_a_broken_entry_point_is_one_line(install) -> None:
    install("their_broken", "[moe_apps.shapes]\nhole = their_broken:MISSING\n")
    with pytest.raises(ConfigError, match=r"shape 'hole' \(their_broken:MISSING\) cannot be imp"):
        Registry("shape", "moe_apps.shapes").get("hole")


def test_two_packages_with_one_name_are_both_named(install) -> None:
    install("first_of_two", "[moe_apps.shapes]\nstar = first_of_two:STAR\n", "STAR = 1\n")
    install("second_of_two", "[moe_apps.shapes]\nstar = second_of_two:STAR\n", "STAR = 2\n")
    with pytest.raises(ConfigError, match=r"first_of_two:STAR, second_of_two:STAR"):
        Registry("shape", "moe_apps.shapes").get("star")


def test_our_domains_are_entry_points_too() -> None:
    assert "forecasting" in DOMAINS.names()
