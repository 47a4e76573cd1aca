"""CommonRoad scenarios: XML of formats 2018b and 2020a, metres and radians.

The lanes of the map are numbered by walking it: a successor carries on its predecessor's number, a
left neighbour of the same direction has one more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import numpy.typing as npt
import pandas as pd
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from matplotlib.path import Path as Outline

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks

# What another lane number costs, in the measure of 1 - cos(turn): as much as a turn by 18 degrees.
_OTHER = 0.05
VEHICLES = {"car", "truck", "bus", "motorcycle", "bicycle", "pedestrian"}


def read(path: Path) -> Tracks:
    """Read the moving obstacles of a scenario, with the lanes they are in.

    Raises `DataError` for XML that is broken, unsafe or no scenario, and names the obstacle that
    lacks a position or a time.
    """
    try:
        root = parse(path).getroot()
    except (ParseError, DefusedXmlException) as error:
        raise DataError(f"{path}: is no XML that can be read: {error}") from None
    if root.tag != "commonRoad":
        raise DataError(f"{path}: its root is <{root.tag}>, expected <commonRoad>")
    step = float(root.get("timeStepSize", "0.1"))
    moving = [obstacle for obstacle in root if _is_moving(obstacle)]
    standing = len(root.findall("staticObstacle")) + sum(
        obstacle.findtext("role") == "static" for obstacle in root.findall("obstacle")
    )
    notes = [f"{path.name}: {standing} static obstacles left out"] if standing else []
    rows = [row for obstacle in moving for row in _states(obstacle, path)]
    if not rows:
        raise DataError(f"{path}: has no moving obstacle with a trajectory")
    columns = pd.DataFrame(rows)
    columns["recording"] = path.stem
    columns["heading"] = columns["heading"].astype(float)
    columns["speed"] = columns["speed"].astype(float)
    columns["lane"], lane_width = _lanes(root, columns)
    return finish(columns, 1 / step, path, notes, lane_width, align=True)


def _is_moving(obstacle: Element) -> bool:
    return obstacle.tag == "dynamicObstacle" or (
        obstacle.tag == "obstacle" and obstacle.findtext("role") == "dynamic"
    )


def _states(obstacle: Element, path: Path) -> Iterator[dict[str, object]]:
    number = obstacle.get("id", "")
    kind = (obstacle.findtext("type") or "").strip()
    shape = obstacle.find("shape/rectangle")
    size = {
        name: float(shape.findtext(name) or "nan") if shape is not None else np.nan
        for name in ("length", "width")
    }
    for state in (*obstacle.findall("initialState"), *obstacle.findall("trajectory/state")):
        point = state.find("position/point")
        x = _value(point, "x") if point is not None else None
        y = _value(point, "y") if point is not None else None
        frame = _value(state, "time")
        if x is None or y is None or frame is None or not number.lstrip("-").isdigit():
            raise DataError(
                f"{path}: obstacle {number!r} has a state without a point and an exact time"
            )
        yield {
            "vehicle": int(number),
            "frame": round(frame),
            "x": x,
            "y": y,
            "heading": _value(state, "orientation"),
            "speed": _value(state, "velocity"),
            "kind": kind if kind in VEHICLES else "unknown",
            **size,
        }


def _value(parent: Element, name: str) -> float | None:
    """A number, exact or the middle of an interval."""
    element = parent.find(name)
    if element is None:
        return None
    texts = [element.findtext("exact"), element.text]
    ends = [element.findtext("intervalStart"), element.findtext("intervalEnd")]
    try:
        if all(ends):
            return (float(ends[0] or "") + float(ends[1] or "")) / 2
        return float(next(text for text in texts if text and text.strip()))
    except (ValueError, StopIteration):
        return None


def _lanes(root: Element, rows: pd.DataFrame) -> tuple[npt.NDArray[np.int64], float | None]:
    """Lane number `[rows]` of each row, and the usual width of a lane.

    In a junction lanelets lie over each other: the one that runs as the vehicle does is taken, and
    one of the number the vehicle had before rather than another.
    """
    places = rows[["x", "y"]].to_numpy(np.float64)
    heading = rows["heading"].to_numpy(np.float64)
    candidates: list[list[tuple[float, int]]] = [[] for _ in places]
    widths = []
    numbers = _numbers(root)
    for lanelet in root.findall("lanelet"):
        left, right = (_points(lanelet, side) for side in ("leftBound", "rightBound"))
        if len(left) < 2 or len(right) < 2:
            continue
        widths.append(float(np.linalg.norm(left[0] - right[0])))
        outline = Outline(np.concatenate([left, right[::-1]]))
        inside = np.flatnonzero(outline.contains_points(places))
        start = np.argmin(np.linalg.norm(places[inside, None] - left[None, :-1], axis=2), axis=1)
        course = np.diff(left, axis=0)[start]
        turn = heading[inside] - np.arctan2(course[:, 1], course[:, 0])
        # Without a heading all are as good.
        cost = np.nan_to_num(1 - np.cos(turn))
        for row, value in zip(inside, cost, strict=True):
            candidates[row].append((float(value), numbers[lanelet.get("id", "")]))
    lane = np.full(len(places), UNKNOWN_LANE, np.int64)
    latest: dict[int, int] = {}
    for index, vehicle in enumerate(rows["vehicle"]):
        before = latest.get(vehicle)
        if candidates[index]:
            best = min((cost + _OTHER * (n != before), n) for cost, n in candidates[index])
            latest[vehicle] = best[1]
            lane[index] = best[1]
    return lane, float(np.median(widths)) if widths else None


def _points(lanelet: Element, side: str) -> npt.NDArray[np.float64]:
    points = [
        (_value(point, "x") or 0.0, _value(point, "y") or 0.0)
        for point in lanelet.findall(f"{side}/point")
    ]
    return np.array(points, np.float64).reshape(-1, 2)


def _numbers(root: Element) -> dict[str, int]:
    """Number of each lanelet; the lowest of a connected map is 0."""
    steps: dict[str, list[tuple[str, int]]] = {
        lanelet.get("id", ""): [] for lanelet in root.findall("lanelet")
    }
    for lanelet in root.findall("lanelet"):
        own = lanelet.get("id", "")
        for tag, step in (("adjacentLeft", 1), ("adjacentRight", -1), ("successor", 0)):
            for link in lanelet.findall(tag):
                other = link.get("ref", "")
                if other in steps and link.get("drivingDir", "same") == "same":
                    steps[own].append((other, step))
                    steps[other].append((own, -step))
    numbers: dict[str, int] = {}
    for start in steps:
        if start in numbers:
            continue
        found = {start: 0}
        waiting = deque([start])
        while waiting:
            here = waiting.popleft()
            # Neighbours first, so that a road keeps its order where junctions contradict it.
            for there, step in sorted(steps[here], key=lambda link: link[1] == 0):
                if there not in found:
                    found[there] = found[here] + step
                    waiting.append(there)
        lowest = min(found.values())
        numbers |= {name: number - lowest for name, number in found.items()}
    return numbers
