"""A made road, and files of it in each published format, true to the format's units and axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.tracks import Tracks

LANE = 3.6
FOOT = 0.3048


def road(rate: float = 10, seconds: float = 6.0, first_vehicle: int = 1) -> Tracks:
    """Six vehicles on three lanes; the second changes to the left, the fifth to the right."""
    parts = []
    for number in range(6):
        count = int(seconds * rate) - 3 * number
        frame = np.arange(count) + 2 * number
        time = np.arange(count) / rate
        start = (0, 0, 1, 2, 2, 1)[number]
        moved = {1: 1, 4: -1}.get(number, 0) * np.clip((time - 1.53) / 3.0, 0, 1)
        parts.append(
            pd.DataFrame(
                {
                    "recording": "road",
                    "vehicle": first_vehicle + number,
                    "frame": frame,
                    "x": 40.0 * number + (22 + number) * time + 0.2 * time**2,
                    "y": (start + moved) * LANE + LANE / 2,
                    "lane": np.floor(start + moved + 0.5).astype(int),
                    "length": 4.5 + 0.25 * number,
                    "width": 1.8,
                    "kind": "truck" if number == 3 else "car",
                }
            )
        )
    return Tracks.of(pd.concat(parts), rate, lane_width=LANE)


def velocity(tracks: Tracks) -> np.ndarray:
    """Metres a second `[rows, 2]` along x and y."""
    steps = tracks.table.groupby(["recording", "vehicle"])[["x", "y"]].transform(np.gradient)
    return steps.to_numpy() * tracks.rate


def turned(tracks: Tracks, angle: float, at: tuple[float, float] = (0.0, 0.0)) -> pd.DataFrame:
    """Rows in a frame in which the road runs at `angle`, with `heading`, `vx` and `vy`."""
    table, speed = tracks.table.copy(), velocity(tracks)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    table["heading"] = np.arctan2(speed[:, 1], speed[:, 0]) + angle
    table["vx"], table["vy"] = speed @ [cos, -sin], speed @ [sin, cos]
    table["x"], table["y"] = at[0] + x * cos - y * sin, at[1] + x * sin + y * cos
    return table


def ngsim(tracks: Tracks, lanes: int = 3, global_time: int = 1118846980200) -> pd.DataFrame:
    """The 18 columns of NGSIM, in feet; lanes and `Local_X` from the left edge."""
    table, speed = tracks.table, velocity(tracks)
    rows = {
        "Vehicle_ID": table["vehicle"],
        "Frame_ID": table["frame"] + 13,
        "Total_Frames": table.groupby("vehicle")["frame"].transform("size"),
        "Global_Time": global_time + 100 * table["frame"],
        "Local_X": (lanes * LANE - table["y"]) / FOOT,
        "Local_Y": (table["x"] + table["length"] / 2) / FOOT,
        "Global_X": 6451137.641,
        "Global_Y": 1873344.962,
        "v_Length": table["length"] / FOOT,
        "v_Width": table["width"] / FOOT,
        "v_Class": table["kind"].map({"car": 2, "truck": 3}),
        "v_Vel": np.hypot(*speed.T) / FOOT,
        "v_Acc": 0.0,
        "Lane_ID": lanes - table["lane"],
        "Preceding": 0,
        "Following": 0,
        "Space_Headway": 0.0,
        "Time_Headway": 0.0,
    }
    return pd.DataFrame(rows)


def write_highd(folder: Path, tracks: Tracks, number: str = "07") -> Path:
    """Both carriageways of a highD recording, the same traffic on each, with its meta files."""
    table, speed = tracks.table, velocity(tracks)
    sides = []
    for direction in (1, 2):
        sign = -1.0 if direction == 1 else 1.0
        # The image's y is downwards: upper lanes from 8 m, lower ones from 24 m on.
        y = table["y"] + 8.0 if direction == 1 else 24.0 + 3 * LANE - table["y"]
        x = 400.0 - table["x"] if direction == 1 else table["x"]
        lane = table["lane"] + 2 if direction == 1 else 8 - table["lane"]
        sides.append(
            pd.DataFrame(
                {
                    "frame": table["frame"] + 1,
                    "id": table["vehicle"] + 100 * direction,
                    "x": x - table["length"] / 2,
                    "y": y - table["width"] / 2,
                    "width": table["length"],
                    "height": table["width"],
                    "xVelocity": sign * speed[:, 0],
                    "yVelocity": -sign * speed[:, 1],
                    "precedingId": 0,
                    "laneId": lane,
                    "class": table["kind"].str.title(),
                    "drivingDirection": direction,
                }
            )
        )
    rows = pd.concat(sides)
    path = folder / f"{number}_tracks.csv"
    rows.drop(columns=["class", "drivingDirection"]).to_csv(path, index=False)
    meta = rows[["id", "class", "drivingDirection"]].drop_duplicates("id")
    meta.to_csv(folder / f"{number}_tracksMeta.csv", index=False)
    marks = [";".join(f"{top + LANE * i:.2f}" for i in range(4)) for top in (8.0, 24.0)]
    recording = {"id": 7, "frameRate": tracks.rate, "speedLimit": -1, "startTime": "09:14"}
    recording |= {"upperLaneMarkings": marks[0], "lowerLaneMarkings": marks[1]}
    pd.DataFrame([recording]).to_csv(folder / f"{number}_recordingMeta.csv", index=False)
    return path


def write_ind(folder: Path, tracks: Tracks, angle: float, exid: bool = False) -> Path:
    """An inD (or exiD) recording of a road at `angle`."""
    table, speed = turned(tracks, angle, at=(120.0, -60.0)), velocity(tracks)
    rows = pd.DataFrame(
        {
            "recordingId": 3,
            "trackId": table["vehicle"],
            "frame": table["frame"],
            "trackLifetime": 0,
            "xCenter": table["x"],
            "yCenter": table["y"],
            "heading": np.degrees(table["heading"]) % 360,
            "width": table["width"],
            "length": table["length"],
            "xVelocity": table["vx"],
            "yVelocity": table["vy"],
            "lonVelocity": speed[:, 0],
            "latVelocity": speed[:, 1],
        }
    )
    if exid:
        change = table.groupby("vehicle")["lane"].diff().fillna(0) != 0
        # Lanes -1 to -3 from the middle outwards; the second section has one more at the left.
        shift = (tracks.table["x"] > 150).astype(int)
        lanelet = 1000 + table["lane"]
        rows["laneletId"] = lanelet.astype("str").where(~change, lanelet.astype("str") + ";999")
        rows["laneWidth"] = rows["laneletId"].map(lambda text: f"{LANE}" + ";3.2" * (";" in text))
        rows["odrLaneId"] = -(3 - table["lane"] + shift)
        rows["laneChange"] = change.astype(int)
    path = folder / "03_tracks.csv"
    rows.to_csv(path, index=False)
    meta = table.drop_duplicates("vehicle")
    kind = meta["kind"].map({"car": "car", "truck": "truck_bus"})
    pd.DataFrame({"trackId": meta["vehicle"], "class": kind}).to_csv(
        folder / "03_tracksMeta.csv", index=False
    )
    pd.DataFrame([{"recordingId": 3, "frameRate": tracks.rate, "orthoPxToMeter": 0.01}]).to_csv(
        folder / "03_recordingMeta.csv", index=False
    )
    return path


def citysim(tracks: Tracks) -> pd.DataFrame:
    """Two carriageways of a CitySim expressway; feet, mph, y downwards, lanes numbered across."""
    speed = np.hypot(*velocity(tracks).T)
    sides = []
    for side, angle in enumerate((0.0, np.pi)):
        table = turned(tracks, angle, at=(20.0, 40.0) if side else (20.0, 10.0))
        # Numbered from the top of the image over both carriageways.
        lane = 3 + (2 - table["lane"]) if side == 0 else table["lane"]
        x, y = table["x"], 100.0 - table["y"]
        rows = {
            "frameNum": table["frame"],
            "carId": table["vehicle"] + 10 * side,
            "carCenterX": x * 17.9,
            "carCenterY": y * 17.9,
            "carCenterXft": x / FOOT,
            "carCenterYft": y / FOOT,
            "speed": speed / 0.44704,
            "heading": 0.0,
            "laneId": lane,
        }
        along = np.stack([np.cos(table["heading"]), -np.sin(table["heading"])], axis=1)
        across = along[:, ::-1] * [-1, 1]
        for corner, (a, b) in enumerate(((1, 1), (1, -1), (-1, -1), (-1, 1)), start=1):
            half = a * along * table[["length"]].to_numpy() / 2
            half += b * across * table[["width"]].to_numpy() / 2
            rows[f"boundingBox{corner}Xft"] = (x + half[:, 0]) / FOOT
            rows[f"boundingBox{corner}Yft"] = (y + half[:, 1]) / FOOT
        sides.append(pd.DataFrame(rows))
    return pd.concat(sides)


def commonroad(tracks: Tracks, angle: float, old: bool = False) -> str:
    """A CommonRoad scenario of a road in two stretches, format 2018b (`old`) or 2020a."""
    table = turned(tracks, angle)

    def bound(name: str, side: int, stretch: int) -> str:
        x = np.linspace(-20, 200, 12) + 220 * stretch
        y = np.full_like(x, side * LANE)
        points = np.stack(
            [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1
        )
        inner = "".join(f"<point><x>{a:.6f}</x><y>{b:.6f}</y></point>" for a, b in points)
        return f"<{name}>{inner}</{name}>"

    lanelets = ""
    for stretch in (0, 1):
        for lane in range(3):
            links = f'<successor ref="{lane + 11}"/>' if stretch == 0 else ""
            if lane < 2:
                links += f'<adjacentLeft ref="{10 * stretch + lane + 2}" drivingDir="same"/>'
            if lane > 0:
                links += f'<adjacentRight ref="{10 * stretch + lane}" drivingDir="same"/>'
            lanelets += f'<lanelet id="{10 * stretch + lane + 1}">'
            lanelets += bound("leftBound", lane + 1, stretch) + bound("rightBound", lane, stretch)
            lanelets += links + "</lanelet>"

    def value(name: str, number: float, wide: bool = False) -> str:
        if wide:
            ends = f"<intervalStart>{number - 0.5}</intervalStart>"
            return f"<{name}>{ends}<intervalEnd>{number + 0.5}</intervalEnd></{name}>"
        return f"<{name}><exact>{number:.8f}</exact></{name}>"

    obstacles = '<staticObstacle id="900"><type>parkedVehicle</type></staticObstacle>'
    for vehicle, rows in table.groupby("vehicle"):
        states = [
            f"<position><point><x>{row.x:.6f}</x><y>{row.y:.6f}</y></point></position>"
            + value("orientation", row.heading)
            + f"<time><exact>{row.frame}</exact></time>"
            + value("velocity", float(np.hypot(row.vx, row.vy)), wide=row.frame % 2 == 1)
            for row in rows.itertuples()
        ]
        first = rows.iloc[0]
        start = '<obstacle id="{}"><role>dynamic</role>' if old else '<dynamicObstacle id="{}">'
        obstacles += start.format(vehicle) + f"<type>{first.kind}</type><shape><rectangle>"
        obstacles += f"<length>{first.length}</length><width>{first.width}</width>"
        obstacles += "</rectangle></shape>" + f"<initialState>{states[0]}</initialState>"
        obstacles += "<trajectory>" + "".join(f"<state>{s}</state>" for s in states[1:])
        obstacles += "</trajectory>" + ("</obstacle>" if old else "</dynamicObstacle>")
    version = "2018b" if old else "2020a"
    head = f'<commonRoad commonRoadVersion="{version}" timeStepSize="{1 / tracks.rate}">'
    return f'<?xml version="1.0" encoding="utf-8"?>{head}{lanelets}{obstacles}</commonRoad>'


def interaction(tracks: Tracks) -> pd.DataFrame:
    """Rows of INTERACTION's `vehicle_tracks_000.csv`, along x at 20 m/s by its own columns."""
    table = tracks.table
    return pd.DataFrame(
        {
            "track_id": table["vehicle"] + 1,
            "frame_id": table["frame"] + 1,
            "timestamp_ms": (table["frame"] + 1) * 100,
            "agent_type": table["kind"],
            "x": table["x"],
            "y": table["y"],
            "vx": 20.0,
            "vy": 0.0,
            "psi_rad": 0.0,
            "length": table["length"],
            "width": table["width"],
        }
    )
