"""What the driver does with what actors answer, and with a cluster that has no room, without Ray."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import synth
from synth.distributed.actor import Workplace
from synth.distributed.blocks import Blocks, Prefix
from synth.distributed.cluster import Cluster
from synth.distributed.driver import PATIENCE, Driver, Team, _Worker
from synth.distributed.plan import plan_of
from synth.errors import BusyError, RunError, SynthError, UsageError
from synth.generation.acceptance import Acceptance
from synth.progress import Progress


@dataclass(frozen=True)
class Heard(Progress):
    """Keeps what is said."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """A driver with two actors, which answer what a test says: a task is its answer."""
    given: dict[str, Any] = {"source": [{"question": "1?", "answer": "1"}] * 9, "verifier": "number"}
    plan = plan_of(lambda place: synth.verify(**given, output=place))
    blocks = Blocks(str(tmp_path / "out"), plan, 3, restart=False)
    taken: Any = SimpleNamespace(next=0, record=plan.record)
    ray = SimpleNamespace(
        get=lambda task: task,
        kill=lambda handle: None,
        available_resources=lambda: {"CPU": 1.9},
        exceptions=SimpleNamespace(RayError=OSError, ActorUnavailableError=ConnectionError),
    )
    team = Team(2, 4, b"", Workplace("blocks", "word", ".", "1", 1, None))
    made = Driver(team, blocks, Prefix(taken, Acceptance(taken), blocks), Heard(), ray)
    made._workers += [_Worker(1, None, None), _Worker(2, None, None)]
    return made


def answered(driver: Driver, worker: _Worker, answer: SynthError | None) -> int | None:
    """An actor is given a block, and answers; the number of the block."""
    worker.block = number = driver._next()
    driver._take(worker, answer)
    return number


def test_a_block_that_another_process_is_writing_comes_later(driver: Driver) -> None:
    assert answered(driver, driver._workers[0], BusyError("it is being written")) == 1
    assert len(driver._workers) == 2 and driver._next() == 1
    assert "block 1 waits" in driver.progress.lines[0]  # type: ignore[attr-defined]


def test_an_actor_that_cannot_work_is_left_out_once_a_block_was_made(driver: Driver) -> None:
    first, second = driver._workers
    assert answered(driver, first, None) == 1
    assert answered(driver, second, UsageError("no such device")) == 2
    assert driver._workers == [first]
    with pytest.raises(RunError, match=r"no such device\. What was finished is kept"):
        answered(driver, first, UsageError("no such device"))


def test_the_first_actor_that_cannot_work_ends_a_run_without_a_block(driver: Driver) -> None:
    with pytest.raises(UsageError, match="no such device"):
        answered(driver, driver._workers[0], UsageError("no such device"))


def test_what_actors_wait_for_is_said_once(driver: Driver) -> None:
    said = "no actor is ready: each takes 0.1 CPU and 4 GPUs, and 1.9 CPUs and 0 GPUs are free"
    driver._say_waiting()
    driver._began -= PATIENCE + 1
    driver._say_waiting()
    driver._say_waiting()
    assert driver.progress.lines == [said]  # type: ignore[attr-defined]
    driver._workers[0].host = "one"
    driver._say_waiting()
    driver._workers[0].host = ""  # it has died
    driver._began -= PATIENCE + 1
    driver._say_waiting()
    assert driver.progress.lines == [said, said]  # type: ignore[attr-defined]


def test_actors_fit_on_machines_not_on_their_sum() -> None:
    cluster = Cluster((3, 3, 0))
    assert (cluster.nodes, cluster.gpus, cluster.largest, cluster.room(2)) == (3, 6, 3, 2)


def test_an_actor_that_starts_anew_is_asked_again_for_a_while(driver: Driver) -> None:
    def unavailable(task: object) -> None:
        raise ConnectionError("the actor is restarting")

    handle: Any = SimpleNamespace(
        ready=SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda call: "asked"))
    )
    worker = driver._workers[0]
    worker.handle, driver.ray.get = handle, unavailable
    worker.start()
    worker.task = "first"
    driver._take(worker, worker.task)
    assert worker.task == "asked" and worker in driver._workers
    worker.since -= PATIENCE
    with pytest.raises(UsageError, match="an actor cannot start: the actor is restarting"):
        driver._take(worker, worker.task)


def test_a_block_that_goes_on_between_may_fail_as_often_as_machines_do(driver: Driver) -> None:
    """One that is no further than before may not."""
    ready = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda call: "asked"))
    worker = driver._workers[0]
    worker.handle = SimpleNamespace(ready=ready)
    driver.ray.kill = lambda handle, no_restart: None
    for done in (1, 2, 2, 3, 3):
        assert driver._next() == 1
        worker.block, worker.done = 1, done
        driver._take(worker, RunError("its engine died"))
    assert driver._next() == 1
    worker.block, worker.done = 1, 0
    with pytest.raises(RunError, match=r"block 1 failed 3 times: actor 1: its engine died\. What was finished is kept"):
        driver._take(worker, RunError("its engine died"))
