"""Rewards as trainers call them: by verifiers and measures, in processes, threads and event loops of all kinds."""

import asyncio
import multiprocessing
import pickle
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

import synth
from filters.verdict import Verdict, VerifierSettings
from synth.rl.judging import _workers

ANSWERS = ["So it is \\boxed{4}.", "So it is \\boxed{5}.", "I cannot tell.", "<think>It is \\boxed{4}"]


@pytest.fixture(scope="module")
def math() -> Iterator[synth.Reward]:
    with_math = synth.rewards("math")
    yield with_math
    with_math.close()


def sleeping(response: str, reference: str) -> bool:
    """A check of a user's that may not end."""
    if "sleep" in response:
        time.sleep(1000)
    return response == reference


def test_right_wrong_and_unscorable(math: synth.Reward) -> None:
    assert math.__name__ == math.verifier == "math"
    assert math(["2 + 2"] * 4, ANSWERS, reference=["4"] * 4) == [1.0, 0.0, 0.0, 0.0]
    assert math(["2 + 2"] * 2, ANSWERS[:2], reference=["4", None]) == [1.0, None]
    assert math([], [], reference=[]) == []
    conversation = [[{"role": "user", "content": "2 + 2"}]] * 4
    said = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    assert math(conversation, said, [[1]] * 4, answer=[4] * 4, trainer_state=object()) == [1.0, 0.0, 0.0, 0.0]


def test_odd_completions_are_not_rewarded(math: synth.Reward) -> None:
    odd = [None, "", "\ud800 5", "5" * 2_000_000, "\0", "<think>" * 1000, "\\boxed{" * 10_000]
    rewards = math(["2 + 2"] * len(odd), odd, reference=["4"] * len(odd))
    assert set(rewards) <= {0.0, None}


def test_a_wrong_form_weighs_apart_from_a_wrong_answer() -> None:
    with_form = synth.rewards("number", "format", weights=[1, 0.25])
    assert with_form.__name__ == "number+format"
    given = ["It is 4", "It is 5", "I cannot tell", "It is 4"]
    assert with_form(["2 + 2"] * 4, given, reference=["4", "4", "4", "unknown"]) == [1.25, 0.25, 0.0, None]
    with_form.close()


def test_parts_are_summed_and_logged() -> None:
    summed = synth.rewards("number", "length:max=3,unit=words", name="short", weights=[1, 0.5])
    table: dict[str, list[Any]] = {}
    metrics: dict[str, list[float]] = defaultdict(list)
    given = ["It is 4", "It is certainly 5, I think", "4"]
    rewards = summed(
        ["2 + 2"] * 3,
        given,
        reference=["4", "4", None],
        log_extra=table.__setitem__,
        log_metric=lambda name, value: metrics[name].append(value),
    )
    assert rewards == [1.0, -0.5, None]  # nothing is said of a completion that cannot be judged
    assert table == {
        "short/number: verdict": ["right", "wrong: not 4", "unscorable: no reference"],
        "short/number": [1.0, 0.0, None],
        "short/length": [0.0, -1.0, 0.0],
    }
    assert metrics == {
        "rewards/short/number": [0.5],
        "rewards/short/length": [-1 / 3],
        "rewards/short/number/unscorable": [1 / 3],
    }
    summed.close()


def test_columns_and_rewards_may_be_called_anything(math: synth.Reward) -> None:
    columns: dict[str, Any] = {"self": [1], "reference": ["4"]}
    assert math(["2 + 2"], ANSWERS[:1], **columns) == [1.0]
    named = synth.rewards("number", "length:max=3,unit=words", name="number")
    table: dict[str, Any] = {}
    assert named(["2 + 2"], ["It is 4"], reference=["4"], log_extra=table.__setitem__) == [1.0]
    assert table.keys() == {"number/number: verdict", "number/number", "number/length"}  # TRL has a column `number`
    named.close()


def test_the_rows_may_name_the_verifier() -> None:
    by_row = synth.rewards()
    columns: dict[str, Any] = {"verifier": ["number", "exact", "os:system", None], "reference": ["4", "four", "4", "4"]}
    assert by_row(["2 + 2"] * 4, ["It is 4", "Four", "4", "4"], **columns) == [1.0, 1.0, None, None]
    by_row.close()


def test_majority_is_by_prompt() -> None:
    votes = synth.rewards("majority")
    prompts = ["2 + 2", "2 + 2", "3 + 3", "2 + 2", "3 + 3"]
    answers = ["\\boxed{4}", "\\boxed{4}", "\\boxed{6}", "\\boxed{5}", "\\boxed{7}"]
    assert votes(prompts, answers) == [1.0, 1.0, None, 0.0, None]
    votes.close()


def test_a_pattern_is_looked_for_in_all_that_was_written() -> None:
    form = synth.rewards(r"format:(?s)^<think>.*</think>\s*<answer>.*</answer>$", time_limit=0.5)
    good = "<think>2 and 2</think>\n<answer>4</answer>"
    assert form(["2 + 2"] * 2, [good, "<answer>4</answer>"]) == [1.0, 0.0]
    assert form([[{"role": "user", "content": "2 + 2"}]], [[{"role": "assistant", "content": good}]]) == [1.0]
    form.close()
    slow = synth.rewards("format:^(a+)+$", time_limit=0.5)
    assert slow(["a"] * 2, ["a" * 50 + "b", "aaa"]) == [None, 1.0]
    slow.close()


def test_an_answer_that_never_ends_its_check_delays_a_step_by_the_time_limit() -> None:
    own = synth.rewards(VerifierSettings(f"{__name__}:sleeping", time_limit=1.0, function=sleeping))
    assert own(["?"], ["4"], reference=["4"]) == [1.0]
    began = time.monotonic()
    rewards = own(["?"] * 300, ["sleep", *["4", "5"] * 149, "4"], reference=["4"] * 300)
    assert time.monotonic() - began < 30  # not a second for each; to start the next worker takes its time
    assert rewards == [None, *[1.0, 0.0] * 149, 1.0]
    own.close()


def test_a_function_of_the_users_judges() -> None:
    def check(response: str, reference: str, row: dict[str, Any]) -> Verdict:
        return Verdict("right" if response == reference + row["unit"] else "wrong")

    own = synth.rewards(check)
    assert own.__name__ == "check"
    assert own(["?"] * 2, ["4 m", "4"], reference=["4"] * 2, unit=[" m"] * 2) == [1.0, 0.0]
    own.close()


def test_processes_of_one_training_share_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    share = []
    for processes in ("1", "8", "128", ""):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        share.append(_workers())
    assert share == [64, 8, 1, 64]


def test_it_can_be_awaited_and_called_beside_a_running_loop(math: synth.Reward) -> None:
    async def step() -> list[list[float | None]]:
        alone = math(["2 + 2"], ANSWERS[:1], reference=["4"])  # as in a notebook
        both = (math.acall(["2 + 2"], ANSWERS[:1], reference=["4"]), math.asynchronous()(["2"], ["2"], reference=["2"]))
        return [alone, *await asyncio.gather(*both)]

    assert asyncio.run(step()) == [[1.0]] * 3
    assert asyncio.run(step()) == [[1.0]] * 3  # another loop


def test_it_can_be_pickled_while_at_work(math: synth.Reward) -> None:
    again = pickle.loads(pickle.dumps(math.asynchronous())).reward
    assert again(["2 + 2"], ANSWERS[:1], reference=["4"]) == [1.0]
    again.close()
    assert math(["2 + 2"], ANSWERS[:1], reference=["4"]) == [1.0]


def _in_a_fork(reward: synth.Reward, pipe: Any) -> None:
    pipe.send(reward(["2 + 2"] * 2, ANSWERS[:2], reference=["4"] * 2))
    reward.close()


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_has_workers_of_its_own(math: synth.Reward) -> None:
    assert math(["2 + 2"], ANSWERS[:1], reference=["4"]) == [1.0]
    here, there = multiprocessing.Pipe()
    fork = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(math, there))
    fork.start()
    assert here.poll(300) and here.recv() == [1.0, 0.0]
    fork.join(60)
    assert math(["2 + 2"], ANSWERS[:1], reference=["4"]) == [1.0]  # the fork has not ended ours


def test_the_end_of_the_interpreter_ends_the_workers_in_silence() -> None:
    code = "import synth\nmade = synth.rewards('number')\nprint(made(['?'], ['4'], reference=['4']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1.0]\n", "")


def test_a_thousand_completions_at_once() -> None:
    number = synth.rewards("number")
    prompts, given = [f"{n} + 0" for n in range(1000)], [f"It is {n}" for n in range(1000)]
    assert number(prompts, given, reference=[n - n % 2 for n in range(1000)]) == [
        float(n % 2 == 0) for n in range(1000)
    ]
    number.close()
