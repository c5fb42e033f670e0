"""The worker pool: whatever a check does, it is one verdict, and the others go on."""

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from filters.execution.pool import Pool, open_pool
from filters.verdict import Task, Verdict, VerifierError, VerifierSettings

HOSTILE = """
import os, signal, sys, time

def check(response, reference):
    if response == "hang":
        while True: pass
    if response == "sleep":
        time.sleep(1000)
    if response == "die":
        os._exit(3)
    if response == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if response == "killed once":
        if not os.path.exists(reference):
            open(reference, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    if response == "raise":
        raise ValueError("no\\nway")
    if response == "eat":
        return bytearray(10**11) == b""
    if response == "deep":
        return check("deep", reference)
    if response == "print":
        print("right " * 10**5, flush=True); sys.stderr.write("x" * 10**5)
    if response == "deep reply":
        import gc, io
        [pipe] = [f for f in gc.get_objects() if isinstance(f, io.BufferedWriter) and f.fileno() == int(sys.argv[1])]
        pipe.write((10**6).to_bytes(4, "little") + b"[" * 10**6); pipe.flush()
        time.sleep(1000)
    if response == "stdin":
        return sys.stdin.read() == ""
    if response == "child":
        import subprocess
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        open(reference, "w").write(str(child.pid))
        time.sleep(1000)
    if response == "unstartable":
        open("hostile_checks.py", "w").write("1 / 0")
        os._exit(3)
    if response == "pid":
        time.sleep(0.2)
        open(reference, "a").write(f"{os.getpid()} ")
    return response == reference

def broken_row(response, reference, row):
    return row[reference]

def four(a, b, c, d): pass
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "hostile_checks.py").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    return "hostile_checks"


def verdicts(name: str, pairs: list[tuple[str, str]], *, seconds: float = 1.0, workers: int = 2) -> list[Verdict]:
    async def go() -> list[Verdict]:
        pool = await open_pool(VerifierSettings(name, time_limit=seconds), workers)
        try:
            return list(await asyncio.gather(*(pool.check(response, Task(ref)) for response, ref in pairs)))
        finally:
            await pool.close()

    return asyncio.run(go())


def gone(*pids: str) -> bool:
    """Whether the processes end soon; one that is dead and not yet waited for has ended."""
    for _ in range(2_000):
        states = [Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids if os.path.exists(f"/proc/{pid}")]
        if set(states) <= {"Z"}:
            return True
        time.sleep(0.05)
    return False


def test_bad_checks_are_unscorable_and_the_others_go_on(hostile: str) -> None:
    bad = ["hang", "die", "kill", "raise", "eat", "deep", "sleep", "deep reply"]
    pairs = [("a", "a"), ("a", "b")] * 20
    for at, name in enumerate(bad):
        pairs.insert(3 * at, (name, "x"))
    found = dict(zip(bad, [""] * len(bad), strict=True))
    for (response, reference), verdict in zip(pairs, verdicts(f"{hostile}:check", pairs), strict=True):
        if response in bad:
            assert verdict.kind == "unscorable"
            found[response] = verdict.reason or ""
        else:
            assert verdict.kind == ("right" if response == reference else "wrong")
    assert found["hang"] == found["sleep"] == "the check took longer than 1 s"
    assert found["die"] == found["kill"] == found["deep reply"] == "the check crashed"
    assert found["raise"] == "hostile_checks:check raised ValueError: no way"
    assert "memory" in found["eat"]
    assert "deep" in found["deep"]


def test_what_a_check_prints_is_no_reply(hostile: str) -> None:
    assert [v.kind for v in verdicts(f"{hostile}:check", [("print", "print"), ("a", "b")], seconds=5)] == [
        "right",
        "wrong",
    ]


def test_a_check_that_reads_standard_input_finds_none(hostile: str) -> None:
    found = verdicts(f"{hostile}:check", [("stdin", ""), ("a", "a"), ("a", "b")], seconds=5, workers=1)
    assert [v.kind for v in found] == ["right", "right", "wrong"]


def test_what_a_check_has_started_ends_with_it(hostile: str, tmp_path: Path) -> None:
    [verdict] = verdicts(f"{hostile}:check", [("child", str(tmp_path / "pid"))])
    assert verdict.reason == "the check took longer than 1 s"
    assert gone((tmp_path / "pid").read_text())


def test_a_pool_whose_workers_cannot_start_any_more_says_so(hostile: str) -> None:
    async def go() -> None:
        pool = await open_pool(VerifierSettings(f"{hostile}:check"), 1)
        found = await asyncio.wait_for(
            asyncio.gather(
                *(pool.check(text, Task("a")) for text in ("unstartable", "a", "a")), return_exceptions=True
            ),
            120,
        )
        assert all(isinstance(one, VerifierError) and "division by zero" in str(one) for one in found)
        with pytest.raises(VerifierError, match="cannot be started any more"):
            await pool.check("a", Task("a"))
        await pool.close()

    asyncio.run(go())


def test_closing_leaves_nobody_waiting(hostile: str) -> None:
    async def go() -> None:
        pool = await open_pool(VerifierSettings(f"{hostile}:check", time_limit=30), 1)
        checks = [asyncio.ensure_future(pool.check(text, Task("a"))) for text in ("hang", "a")]
        await asyncio.sleep(0.2)
        await pool.close()
        found = await asyncio.wait_for(asyncio.gather(*checks, return_exceptions=True), 60)
        assert [type(one) for one in found] == [VerifierError, VerifierError]

    asyncio.run(go())


def test_long_responses_are_refused_unseen(hostile: str) -> None:
    [verdict] = verdicts(f"{hostile}:check", [("x" * 5_000_000, "x")])
    assert verdict.kind == "unscorable" and "1,000,000 characters" in (verdict.reason or "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mth", "did you mean math"),
        ("no_such_module:f", "cannot be imported"),
        ("hostile_checks:nothing", "cannot be imported"),
        ("hostile_checks:four", "cannot be called with"),
        ("zzz", "there are math"),
    ],
)
def test_what_cannot_work_fails_before_anything_is_checked(hostile: str, name: str, message: str) -> None:
    with pytest.raises(VerifierError, match=message):
        verdicts(name, [])


def test_cancelled_checks_leave_the_pool_usable(hostile: str) -> None:
    async def go() -> None:
        pool = await open_pool(VerifierSettings(f"{hostile}:check", time_limit=30), 1)
        hanging = asyncio.ensure_future(pool.check("hang", Task("x")))
        waiting = asyncio.ensure_future(pool.check("a", Task("a")))
        await asyncio.sleep(0.2)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await asyncio.wait_for(waiting, 60)).kind == "right"
        await pool.close()

    asyncio.run(go())


def test_workers_run_side_by_side(hostile: str, tmp_path: Path) -> None:
    pids = str(tmp_path / "pids")
    verdicts(f"{hostile}:check", [("pid", pids)] * 4, seconds=10)
    assert len(set(Path(pids).read_text().split())) == 2


def test_workers_end_with_their_parent_even_in_the_middle_of_a_check(hostile: str, tmp_path: Path) -> None:
    code = f"""
import asyncio
from filters.execution.pool import open_pool
from filters.verdict import Task, VerifierSettings
async def go():
    pool = await open_pool(VerifierSettings("{hostile}:check", time_limit=100), 1)
    print("ready", flush=True)
    await pool.check("hang", Task("x"))
asyncio.run(go())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
    children = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True).stdout.split()
    assert children
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(*children)


def test_a_killed_worker_is_replaced(hostile: str) -> None:
    async def go(pool: Pool) -> list[str]:
        kinds: list[str] = []
        for response in ("die", "a", "kill", "a"):
            kinds.append((await pool.check(response, Task("a"))).kind)
        await pool.close()
        return kinds

    async def main() -> list[str]:
        return await go(await open_pool(VerifierSettings(f"{hostile}:check"), 1))

    assert asyncio.run(main()) == ["unscorable", "right", "unscorable", "right"]


def test_a_function_of_a_module_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported where a script found it: a worker has no working directory in its path."""
    module = tmp_path / "checks_of_mine.py"
    module.write_text("def same(response, reference):\n    return response == reference\n")
    monkeypatch.syspath_prepend(tmp_path)
    same = importlib.import_module("checks_of_mine").same

    async def judged() -> Verdict:
        pool = await open_pool(VerifierSettings("checks_of_mine:same", function=same), workers=1)
        try:
            return await pool.check("4", Task("4", ""))
        finally:
            await pool.close()

    assert asyncio.run(judged()).kind == "right"
    module.unlink()
    with pytest.raises(VerifierError, match="No module named 'checks_of_mine'"):
        asyncio.run(judged())


def test_a_worker_that_was_killed_from_outside_says_nothing_of_its_response(hostile: str, tmp_path: Path) -> None:
    [verdict] = verdicts(f"{hostile}:check", [("killed once", str(tmp_path / "killed"))])
    assert verdict.kind == "right"
