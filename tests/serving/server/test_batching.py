from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moe_apps.serving.server.batching import Batching, Task
from moe_apps.serving.server.inference import start
from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.status import Code, StatusError

RUNS: list[tuple[int, int]] = []


@pytest.fixture(scope="module")
def model(toy: Path) -> Iterator[LoadedModel]:
    model = LoadedModel("toy", 1, toy / "toy" / "1")
    yield model
    model.release()


@pytest.fixture
def busy(model: LoadedModel) -> Iterator[Batching]:
    """One thread that is busy, so that what is submitted waits together."""
    RUNS.clear()
    batching = Batching(threads=1, max_rows=8, max_waiting=20, seen=lambda *run: RUNS.append(run))
    steps = {"steps": np.array([60], np.int32)}
    start(batching, model, model.signatures["slow"], steps, 20)
    while batching.waiting:
        time.sleep(0.001)
    yield batching
    batching.close()


def submit(
    batching: Batching, model: LoadedModel, signature: str, timeout: float = 20, **inputs: Any
) -> Future[dict[str, np.ndarray]]:
    return start(batching, model, model.signatures[signature], inputs, timeout)


def rows(count: int, value: float) -> np.ndarray:
    return np.full((count, 2), value, np.float32)


def test_what_waits_runs_together_and_each_gets_its_own(busy: Batching, model: LoadedModel) -> None:
    sizes = (1, 3, 2, 1, 4)
    waiting = [
        submit(busy, model, "serving_default", x=rows(size, index))
        for index, size in enumerate(sizes)
    ]
    for index, (size, answer) in enumerate(zip(sizes, waiting, strict=True)):
        np.testing.assert_array_equal(answer.result(20)["y"], rows(size, 2 * index))
        assert answer.result()["total"].shape == (size,)
    assert RUNS[1:] == [(7, 4), (4, 1)]  # no more than 8 rows


def test_only_what_asks_for_the_same_joins(busy: Batching, model: LoadedModel) -> None:
    x = rows(1, 1)
    waiting = [
        submit(busy, model, "scaled", x=x, times=np.array(times, np.int32)) for times in (2, 3, 2)
    ]
    waiting += [submit(busy, model, "joint", x=x * value) for value in (1, 3)]
    found = [answer.result(20) for answer in waiting]
    assert [answer["y"][0, 0] for answer in found[:3]] == [2, 3, 2]
    assert [answer["mean"] for answer in found[3:]] == [1, 3], "it does not go by rows"
    assert RUNS[1:] == [(2, 2), (1, 1), (0, 1), (0, 1)]


def test_one_bad_request_harms_no_other(busy: Batching, model: LoadedModel) -> None:
    waiting = [submit(busy, model, "positive", x=rows(1, value)) for value in (4, -1, 9)]
    assert waiting[0].result(20)["y"][0, 0] == 2
    assert waiting[2].result(20)["y"][0, 0] == 3
    with pytest.raises(StatusError, match="x must be positive"):
        waiting[1].result(20)


def test_late_and_given_up_requests_are_not_run(busy: Batching, model: LoadedModel) -> None:
    late = submit(busy, model, "serving_default", timeout=1e-4, x=rows(1, 1))
    gone = submit(busy, model, "serving_default", x=rows(1, 1))
    assert gone.cancel()
    with pytest.raises(StatusError) as caught:
        late.result(20)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert len(RUNS) == 1


def test_a_full_queue_says_so(busy: Batching, model: LoadedModel) -> None:
    waiting = [submit(busy, model, "joint", x=rows(1, 1)) for _ in range(20)]
    with pytest.raises(StatusError) as caught:
        submit(busy, model, "joint", x=rows(1, 1))
    assert caught.value.code is Code.UNAVAILABLE
    assert all(answer.result(20) for answer in waiting)


def test_stopping_answers_what_waits(busy: Batching, model: LoadedModel) -> None:
    waiting = [submit(busy, model, "joint", x=rows(1, value)) for value in range(5)]
    closing = threading.Thread(target=busy.close)
    closing.start()
    assert [answer.result(20)["mean"] for answer in waiting] == [0, 1, 2, 3, 4]
    closing.join(20)
    assert not closing.is_alive()
    with pytest.raises(StatusError, match="the server stops"):
        submit(busy, model, "joint", x=rows(1, 1))


class Slow:
    """A model that takes 0.2 s for each row."""

    def hold(self) -> None: ...
    def release(self) -> None: ...

    def run(
        self, signature: Any, inputs: dict[str, np.ndarray], outputs: Any, timeout: float
    ) -> dict[str, np.ndarray]:
        time.sleep(0.2 * len(inputs["x"]))
        return inputs


def test_few_go_together_where_a_row_takes_long(model: LoadedModel) -> None:
    runs: list[tuple[int, int]] = []
    batching = Batching(threads=1, max_rows=8, max_waiting=20, seen=lambda *run: runs.append(run))
    slow, signature = Slow(), model.signatures["serving_default"]

    def ask() -> Future[dict[str, np.ndarray]]:
        task = Task(slow, signature, {"x": rows(1, 1)}, ("y",), time.monotonic() + 20)  # type: ignore[arg-type]
        return batching.submit(task)

    assert ask().result(20)
    for answer in [ask() for _ in range(5)]:
        assert answer.result(20)
    batching.close()
    assert sum(count for _, count in runs) == 6
    assert max(count for _, count in runs) == 2, "0.5 s are two rows"
