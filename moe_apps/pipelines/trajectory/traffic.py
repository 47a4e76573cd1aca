"""The traffic of the simulator: car following and lane changes of all roads in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.trajectory.drivers import draw_drivers

if TYPE_CHECKING:
    from moe_apps.pipelines.trajectory.config import SimulatorSettings

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STEP = 0.1
KEEP, PREPARE, MOVE, RETURN = range(4)
STANDSTILL = 2.0
"""Metres between vehicles that stand (IDM `s0`)."""
SAFE_BRAKING = 2.5
"""Most braking that a lane change may ask of the vehicle behind (MOBIL)."""
HARDEST_BRAKING = 8.0
REACTION = 0.4
"""Seconds over which acceleration follows what the driver wants."""
EASE_DOWN, EASE_UP = 3.0, 9.0
"""Seconds over which a driver's desired speed goes down in a slow-down, and up again after it."""
WANDER, WANDER_TIME = 0.12, 3.0
"""Metres and seconds of the swaying within a lane."""
REST = 4.0
"""Seconds after a lane change in which there is no other."""
DECIDE_EVERY = 5
"""Steps between decisions about lanes."""
DELAY = 1.5
"""Seconds that a wish for another lane waits on average before it is acted upon."""


def quintic(share: Floats) -> Floats:
    """Share of a movement that is done: from 0 to 1 with no speed and acceleration at its ends.

    >>> quintic(np.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    share = np.clip(share, 0.0, 1.0)
    return share**3 * (10 - 15 * share + 6 * share**2)


def quintic_run_out(share: Floats) -> Floats:
    """Way of a movement that begins with speed 1 and comes back to where it was, at rest.

    >>> quintic_run_out(np.array([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    share = np.clip(share, 0.0, 1.0)
    return share - share**3 * (6 - 8 * share + 3 * share**2)


class Traffic:
    """State of all vehicles, `[roads, vehicles]`; `advance` moves them by a tenth of a second.

    Args:
        settings: what is simulated.
        rng: source of everything random.

    Attributes:
        position: metres along the ring, not wrapped.
        speed, acceleration: metres and seconds.
        lane: exact lane, 0 at the right.
        y: metres from the right edge of the road.
        phase: KEEP, PREPARE (wants to change), MOVE, RETURN (gave up).
        length: metres of each ring, `[roads, 1]`.
        driver: parameters by name, see `DriverType`.
    """

    def __init__(self, settings: SimulatorSettings, rng: np.random.Generator) -> None:
        self.settings, self.rng = settings, rng
        shape = roads, vehicles = settings.roads, settings.vehicles
        self.driver = draw_drivers(rng, shape)
        density = np.linspace(settings.lowest_density, settings.highest_density, roads)
        self.length = (1000 * vehicles / settings.lanes / density)[:, None]
        self.lane: Ints = np.broadcast_to(np.arange(vehicles) % settings.lanes, shape).copy()
        place = np.arange(vehicles) // settings.lanes
        slots = -(-vehicles // settings.lanes)
        self.position: Floats = (place + 0.3 * rng.random(shape)) / slots * self.length
        room = 1000 / density[:, None] - self.driver["length"] - STANDSTILL
        self.speed: Floats = np.clip(room / 2.0, 3.0, 0.9 * self.driver["desired_speed"])
        self.acceleration: Floats = np.zeros(shape)
        self.phase: Ints = np.zeros(shape, np.int64)
        self.since: Floats = np.zeros(shape)  # seconds in this phase
        self.lasts: Floats = np.zeros(shape)  # how long the phase is
        self.side: Ints = np.zeros(shape, np.int64)  # +1 to the left
        self.other: Ints = self.lane.copy()  # the second lane that a moving vehicle is in
        self.offset: Floats = np.zeros(shape)  # metres from the lane's centre, by a lane change
        self.across: Floats = np.zeros(shape)  # its speed
        self.begin: Floats = np.zeros(shape)  # the offset at the begin of the phase
        self.begin_speed: Floats = np.zeros(shape)
        self.goal: Floats = np.zeros(shape)  # the offset at its end
        self.gives_up: Bools = np.zeros(shape, bool)
        self.rest: Floats = rng.random(shape) * REST
        self.sway: Floats = WANDER * rng.standard_normal(shape)
        self.sway_speed: Floats = np.zeros(shape)
        self.hurry: Floats = np.ones(shape)  # desired speed now, as a share of the driver's own
        self.wanted_hurry: Floats = np.ones(shape)
        self.slow_for: Floats = np.zeros(shape)
        self.clock = 0
        self._roads = np.arange(roads)[:, None]

    @property
    def y(self) -> Floats:
        """Metres from the right edge of the road."""
        return (self.lane + 0.5) * self.settings.lane_width + self.offset + self.sway

    def advance(self) -> None:
        """Move everything by one step."""
        distance = self._distances()
        in_lane = self._occupied()
        ahead = self._ahead(distance, in_lane, self.lane)
        wanted = self._follow(*ahead)
        towards = self.lane + self.side * (self.phase == PREPARE)
        beside = np.where(self.phase == MOVE, self.other, towards)
        # Who wants to change or is changing also minds the vehicle ahead in the other lane; while
        # it only wants to, not at any price.
        second = self._follow(*self._ahead(distance, in_lane, beside))
        second = np.where(self.phase == PREPARE, np.maximum(second, -1.2), second)
        wanted = np.where(beside == self.lane, wanted, np.minimum(wanted, second))
        self._slow_downs()
        if self.clock % DECIDE_EVERY == 0:
            self._decide(distance, in_lane, wanted)
        self._change_lanes(distance, in_lane)
        self._move(wanted)
        self.clock += 1

    def _distances(self) -> Floats:
        """Metres from the vehicle i forward to j, `[roads, i, j]`; a whole lap to itself."""
        wrapped = self.position % self.length
        distance = wrapped[:, None, :] - wrapped[:, :, None]
        distance = np.where(distance < 0, distance + self.length[..., None], distance)
        index = np.arange(distance.shape[1])
        distance[:, index, index] = self.length
        return distance

    def _occupied(self) -> Bools:
        """Whether a vehicle is in a lane, `[roads, lanes, vehicles]`."""
        lanes = np.arange(self.settings.lanes)[None, :, None]
        moving = (self.phase == MOVE) | (self.phase == RETURN)
        return (self.lane[:, None] == lanes) | ((self.other[:, None] == lanes) & moving[:, None])

    def _ahead(self, distance: Floats, in_lane: Bools, lane: Ints) -> tuple[Floats, Ints]:
        """Gap to the next vehicle ahead in a lane `[roads, vehicles]`, and which one it is."""
        there = in_lane[self._roads, lane]  # (roads, i, j)
        masked = np.where(there, distance, np.inf)
        index = np.arange(distance.shape[1])
        masked[:, index, index] = np.inf
        nearest = masked.argmin(axis=2)
        gap = np.take_along_axis(masked, nearest[..., None], axis=2)[..., 0]
        return gap - self._mean_length(nearest), nearest

    def _behind(self, distance: Floats, in_lane: Bools, lane: Ints) -> tuple[Floats, Ints]:
        """Gap to the next vehicle behind in a lane, and which one it is."""
        there = in_lane[self._roads, lane]
        masked = np.where(there, distance, -np.inf)
        index = np.arange(distance.shape[1])
        masked[:, index, index] = -np.inf
        nearest = masked.argmax(axis=2)
        furthest = np.take_along_axis(masked, nearest[..., None], axis=2)[..., 0]
        gap = np.where(np.isfinite(furthest), self.length - furthest, np.inf)
        return gap - self._mean_length(nearest), nearest

    def _mean_length(self, other: Ints) -> Floats:
        length = self.driver["length"]
        return 0.5 * (length + length[self._roads, other])

    def _follow(self, gap: Floats, ahead: Ints) -> Floats:
        """Acceleration of every vehicle behind the vehicles `ahead`."""
        return self._idm(slice(None), gap, self.speed, self.speed[self._roads, ahead])

    def _idm(self, who: Any, gap: Floats, speed: Floats, ahead: Floats) -> Floats:
        """Intelligent Driver Model; `who` picks the drivers."""
        driver = {
            name: self.driver[name][who]
            for name in ("desired_speed", "time_gap", "acceleration", "braking")
        }
        hurry = self.hurry[who]
        strength = driver["acceleration"]
        closing = speed * (speed - ahead) / (2 * np.sqrt(strength * driver["braking"]))
        wanted_gap = STANDSTILL + np.maximum(speed * driver["time_gap"] + closing, 0.0)
        free = (speed / (hurry * driver["desired_speed"])) ** 4
        # Faster than desired: ease off, as the improved model does, rather than brake hard.
        free = np.where(free > 1, 1 + 0.5 * (free - 1), free)
        braking = (wanted_gap / np.maximum(gap, 0.5)) ** 2
        return np.clip(strength * (1 - free - braking), -HARDEST_BRAKING, None)

    def _slow_downs(self) -> None:
        """Now and then desire a lower speed for a while; the change is eased."""
        chance = STEP / self.settings.slow_down_every
        starts = (self.slow_for <= 0) & (self.rng.random(self.lane.shape) < chance)
        amount = self.rng.uniform(0.5, 0.85, self.lane.shape)
        lasts = self.rng.uniform(6.0, 16.0, self.lane.shape)
        self.slow_for = np.where(starts, lasts, self.slow_for - STEP)
        self.wanted_hurry = np.where(starts, amount, self.wanted_hurry)
        self.wanted_hurry = np.where(self.slow_for <= 0, 1.0, self.wanted_hurry)
        ease = np.where(self.wanted_hurry < self.hurry, EASE_DOWN, EASE_UP)
        self.hurry = self.hurry + (self.wanted_hurry - self.hurry) * STEP / ease

    def _decide(self, distance: Floats, in_lane: Bools, own: Floats) -> None:
        """MOBIL: who gains by another lane, with none braked too hard, begins to prepare for it."""
        free = (self.phase == KEEP) & (self.rest <= 0)
        if not free.any():
            return
        polite = self.driver["politeness"]
        gap_behind, behind = self._behind(distance, in_lane, self.lane)
        ahead_now = self._ahead(distance, in_lane, self.lane)
        lost = self._idm((self._roads, behind), gap_behind, self._of(behind), self.speed)
        # Without this vehicle, the one behind follows the one ahead of it.
        gap_then = gap_behind + ahead_now[0] + self.driver["length"]
        freed = self._idm((self._roads, behind), gap_then, self._of(behind), self._of(ahead_now[1]))
        gains = []
        for side in (1, -1):
            lane = self.lane + side
            exists = (lane >= 0) & (lane < self.settings.lanes)
            lane = np.clip(lane, 0, self.settings.lanes - 1)
            mine, theirs, safe = self._in_lane(distance, in_lane, lane)
            gain = mine - own + polite * (theirs + freed - lost)
            # Keep right unless there is something to gain.
            gain = gain - self.driver["threshold"] + (0.08 if side < 0 else -0.04)
            gains.append(np.where(free & exists & safe, gain, -np.inf))
        left = gains[0] >= gains[1]
        best = np.where(left, gains[0], gains[1])
        hazard = 1 - np.exp(-STEP * DECIDE_EVERY / DELAY)
        starts = (best > 0) & (self.rng.random(self.lane.shape) < hazard)
        self._enter(PREPARE, starts, self.rng.uniform(1.0, 2.2, self.lane.shape))
        self.side = np.where(starts, np.where(left, 1, -1), self.side)
        shift = self.rng.uniform(0.2, 0.5, self.lane.shape) * self.side
        self.goal = np.where(starts, shift, self.goal)
        given_up = self.rng.random(self.lane.shape) < self.settings.abort_share
        self.gives_up = np.where(starts, given_up, self.gives_up)

    def _in_lane(
        self, distance: Floats, in_lane: Bools, lane: Ints
    ) -> tuple[Floats, Floats, Bools]:
        """In another lane: own acceleration, change of the follower's, and whether it is safe."""
        gap, ahead = self._ahead(distance, in_lane, lane)
        gap_behind, behind = self._behind(distance, in_lane, lane)
        mine = self._follow(gap, ahead)
        speed_behind = self._of(behind)
        follower = self._roads, behind
        then = self._idm(follower, gap_behind, speed_behind, self.speed)
        between = gap + gap_behind + self.driver["length"]
        now = self._idm(follower, between, speed_behind, self._of(ahead))
        safe = (then > -SAFE_BRAKING) & (mine > -SAFE_BRAKING)
        safe &= (gap > STANDSTILL) & (gap_behind > STANDSTILL)
        return mine, then - now, safe

    def _of(self, other: Ints) -> Floats:
        """Speed of other vehicles, by their number."""
        return self.speed[self._roads, other]

    def _enter(self, phase: int, who: Bools, lasts: Floats) -> None:
        self.phase = np.where(who, phase, self.phase)
        self.since = np.where(who, 0.0, self.since)
        self.lasts = np.where(who, lasts, self.lasts)
        self.begin = np.where(who, self.offset, self.begin)
        self.begin_speed = np.where(who, self.across, self.begin_speed)

    def _change_lanes(self, distance: Floats, in_lane: Bools) -> None:
        """Go on with preparations, movements and returns, and from one to the next."""
        width = self.settings.lane_width
        self.since = self.since + STEP
        self.rest = self.rest - STEP
        active = self.phase != KEEP
        share = self.since / np.maximum(self.lasts, STEP)
        offset = self.begin + (self.goal - self.begin) * quintic(share)
        offset = offset + self.begin_speed * self.lasts * quintic_run_out(share)
        offset = np.where(active, offset, self.offset)
        self.across = (offset - self.offset) / STEP
        self.offset = offset
        self._cross(width)
        ended = active & (self.since >= self.lasts)
        ready = ended & (self.phase == PREPARE)
        if ready.any():
            lane = np.clip(self.lane + self.side, 0, self.settings.lanes - 1)
            safe = self._in_lane(distance, in_lane, lane)[2]
            waits = ready & ~safe & (self.since < self.lasts + 2.0)
            self._begin_move(ready & safe, width)
            self._give_up(ready & ~safe & ~waits)
        turns = (self.phase == MOVE) & self.gives_up & (self.since > 0.3 * self.lasts)
        self._give_up(turns)
        done = ended & ((self.phase == MOVE) | (self.phase == RETURN))
        done &= self.since >= self.lasts
        self.phase = np.where(done, KEEP, self.phase)
        self.offset = np.where(done, 0.0, self.offset)
        self.other = np.where(done, self.lane, self.other)
        self.rest = np.where(done, REST * (0.5 + self.rng.random(self.lane.shape)), self.rest)

    def _begin_move(self, who: Bools, width: float) -> None:
        self._enter(MOVE, who, self.driver["change_time"])
        self.goal = np.where(who, width * self.side, self.goal)
        self.other = np.where(who, self.lane + self.side, self.other)

    def _give_up(self, who: Bools) -> None:
        self._enter(RETURN, who, np.full(self.lane.shape, 2.5))
        self.goal = np.where(who, 0.0, self.goal)
        self.gives_up = self.gives_up & ~who

    def _cross(self, width: float) -> None:
        """Who has come over the line is in the other lane from now on."""
        over = (self.phase == MOVE) & (self.offset * self.side > 0.5 * width)
        over &= self.other != self.lane
        over &= self.other == self.lane + self.side
        step = np.where(over, self.side, 0)
        old = self.lane
        self.lane = self.lane + step
        self.other = np.where(over, old, self.other)
        for name in ("offset", "begin", "goal"):
            setattr(self, name, getattr(self, name) - step * width)
        self.gives_up = self.gives_up & ~over

    def _move(self, wanted: Floats) -> None:
        """Follow the wish with a delay, unless it is an emergency."""
        smooth = self.acceleration + (wanted - self.acceleration) * STEP / REACTION
        self.acceleration = np.where(wanted < -4.0, np.minimum(wanted, smooth), smooth)
        speed = np.maximum(self.speed + self.acceleration * STEP, 0.0)
        self.position = self.position + 0.5 * (self.speed + speed) * STEP
        self.speed = speed
        # A damped spring pushed by noise sways smoothly: it has a speed.
        push = 2 * WANDER * WANDER_TIME**-1.5 * self.rng.standard_normal(self.lane.shape)
        pull = -self.sway / WANDER_TIME**2 - 2 * self.sway_speed / WANDER_TIME
        self.sway_speed = self.sway_speed + pull * STEP + push * np.sqrt(STEP)
        self.sway = self.sway + self.sway_speed * STEP
