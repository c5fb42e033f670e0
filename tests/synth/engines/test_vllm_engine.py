"""Real vLLM on the sample model, against a plain transformers forward."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from synth.chat.format import ChatFormat
from synth.engines.base import Completion, Engine, EngineOptions, Sampling
from synth.errors import RequestError, UsageError

pytestmark = pytest.mark.vllm

QUESTIONS = [
    "What is 12 + 7?",
    "Name the smallest number: 81, 75, 28.",
    "How do I make holes in paper?",
    "Write the word garden backwards.",
]


@pytest.fixture(scope="module")
def plain(model: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def ask(chat: ChatFormat, question: str) -> list[int]:
    return chat.answer_prompt([{"role": "user", "content": question}])


def generate(loop: Any, engine: Engine, prompts: list[list[int]], *samplings: Sampling) -> list[list[Completion]]:
    async def all_at_once() -> list[list[Completion]]:
        pairs = [(prompt, sampling) for prompt in prompts for sampling in samplings]
        return await asyncio.gather(*(engine.generate(prompt, sampling) for prompt, sampling in pairs))

    found: list[list[Completion]] = loop.run(all_at_once())
    return found


def test_greedy_tokens_equal_plain_generate(loop: Any, vllm_engine: Engine, chat: ChatFormat, plain: Any) -> None:
    import torch

    prompts = [ask(chat, question) for question in QUESTIONS]
    sampling = Sampling(max_tokens=60, temperature=0, stop_ids=chat.answer_stop_ids)
    for prompt, [completion] in zip(prompts, generate(loop, vllm_engine, prompts, sampling), strict=True):
        drawn = plain.generate(torch.tensor([prompt]), max_new_tokens=60, do_sample=False)[0, len(prompt) :].tolist()
        ended = [at for at, token in enumerate(drawn) if token in chat.answer_stop_ids]
        assert list(completion.token_ids) == drawn[: ended[0] if ended else None]
        assert completion.finish == ("stop" if ended else "length")
        assert completion.text == chat.tokenizer.decode(completion.token_ids)
        if ended:
            assert completion.stop_reason == drawn[ended[0]]


def test_given_tokens_are_scored_elsewhere(loop: Any, vllm_engine: Engine) -> None:
    with pytest.raises(UsageError, match="`engine` transformers, or a server"):
        loop.run(vllm_engine.logprobs([1, 2, 3]))


def test_completion_logprob_is_the_models_own(
    loop: Any, vllm_engine: Engine, transformers_engine: Engine, chat: ChatFormat
) -> None:
    """At temperature 2 and top-p 0.9, still the sum of log-probabilities at temperature 1."""
    prompt = ask(chat, QUESTIONS[2])
    sampling = Sampling(
        max_tokens=20, temperature=2, top_p=0.9, seed=5, logprob=True, stop_ids=chat.answer_stop_ids, n=3
    )
    [completions] = generate(loop, vllm_engine, [prompt], sampling)
    assert len({completion.token_ids for completion in completions}) > 1
    for completion in completions:
        end = [int(completion.stop_reason or 0)] if completion.finish == "stop" else []
        scores = loop.run(transformers_engine.logprobs([*prompt, *completion.token_ids, *end]))
        assert completion.logprob == pytest.approx(float(scores[len(prompt) :].sum()), abs=2e-3)


def test_one_likeliest_token_is_greedy(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    prompt = ask(chat, QUESTIONS[2])
    settings = [Sampling(max_tokens=20, temperature=0), Sampling(max_tokens=20, temperature=2, top_k=1, seed=3)]
    greedy, only = generate(loop, vllm_engine, [prompt], *settings)
    assert greedy[0].token_ids == only[0].token_ids


def test_seeds_decide_the_draw(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    prompt = list(chat.user_prompt().ids)
    seeds = [Sampling(max_tokens=30, seed=seed, stop_ids=chat.stop_ids) for seed in range(20)]
    once = generate(loop, vllm_engine, [prompt], *seeds)
    again = generate(loop, vllm_engine, [prompt], *seeds[::-1])[::-1]
    assert once == again
    assert len({completion.text for [completion] in once}) > 15


def test_samples_of_one_prompt_differ(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    prompt = list(chat.user_prompt().ids)
    [completions] = generate(loop, vllm_engine, [prompt], Sampling(max_tokens=30, n=6, stop_ids=chat.stop_ids))
    assert len(completions) == 6 and len({completion.text for completion in completions}) > 3


def test_greedy_samples_are_equal(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    [completions] = generate(loop, vllm_engine, [ask(chat, QUESTIONS[0])], Sampling(max_tokens=9, temperature=0, n=3))
    assert len(completions) == 3 and len(set(completions)) == 1


def test_stop_string_is_cut_off(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    prompt = ask(chat, QUESTIONS[0])
    [[whole]] = generate(
        loop, vllm_engine, [prompt], Sampling(max_tokens=40, temperature=0, stop_ids=chat.answer_stop_ids)
    )
    stop = whole.text.split()[2]
    sampling = Sampling(max_tokens=40, temperature=0, stop_ids=chat.answer_stop_ids, stop=(stop,))
    [[cut]] = generate(loop, vllm_engine, [prompt], sampling)
    assert cut.text == whole.text[: whole.text.index(stop)] != ""
    assert (cut.finish, cut.stop_reason) == ("stop", stop)
    assert whole.token_ids[: len(cut.token_ids)] == cut.token_ids
    assert cut.text.startswith(chat.tokenizer.decode(cut.token_ids))


def test_over_long_prompt_is_one_refused_request(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    async def both() -> tuple[Any, Any]:
        good = vllm_engine.generate(ask(chat, QUESTIONS[0]), Sampling(max_tokens=10, temperature=0))
        bad = vllm_engine.generate([5] * (vllm_engine.max_length + 1), Sampling())
        first, second = await asyncio.gather(good, bad, return_exceptions=True)
        return first, second

    good, bad = loop.run(both())
    assert good[0].text
    assert isinstance(bad, RequestError) and "window" in str(bad)
    with pytest.raises(RequestError, match="empty"):
        loop.run(vllm_engine.generate([], Sampling()))


def test_window_cuts_a_long_answer(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    prompt = (ask(chat, QUESTIONS[0]) * 60)[: vllm_engine.max_length - 5]
    [[completion]] = generate(loop, vllm_engine, [prompt], Sampling(max_tokens=1000, temperature=0))
    assert len(completion.token_ids) == 5 and completion.finish == "length"


def test_cancelled_request_leaves_the_others_alone(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    async def main() -> list[Completion]:
        prompt = ask(chat, QUESTIONS[0])
        doomed = asyncio.ensure_future(vllm_engine.generate(prompt, Sampling(max_tokens=400, temperature=0)))
        await asyncio.sleep(0.05)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        return await vllm_engine.generate(prompt, Sampling(max_tokens=10, temperature=0))

    assert loop.run(main())[0].text


def test_usage_counts_tokens(loop: Any, vllm_engine: Engine, chat: ChatFormat) -> None:
    usage = vllm_engine.usage
    before = (usage.requests, usage.prompt_tokens, usage.completion_tokens)
    prompt = ask(chat, QUESTIONS[0])
    generate(loop, vllm_engine, [prompt], Sampling(max_tokens=7, n=2))
    assert (usage.requests, usage.prompt_tokens) == (before[0] + 1, before[1] + len(prompt))
    assert usage.completion_tokens == before[2] + 14


def test_model_vllm_cannot_run_is_a_usage_error(loop: Any, chat: ChatFormat, model: str) -> None:
    from synth.engines.vllm.engine import open_vllm

    with pytest.raises(UsageError, match="vLLM cannot run"):
        loop.run(open_vllm(model, chat.tokenizer, EngineOptions(max_length=10**6)))
    with pytest.raises(UsageError, match="vLLM cannot run nowhere/none"):
        loop.run(open_vllm("nowhere/none", chat.tokenizer, EngineOptions()))


KILLED = """
import asyncio, json, os, signal, sys, psutil
from synth.engines.loading import load_tokenizer
from synth.engines.base import EngineOptions, Sampling
from synth.engines.vllm.engine import open_vllm

async def main(samplings, prompts):
    options = EngineOptions(data_parallel=2, engine_args={"enforce_eager": True})  # nothing is compiled
    engine = await open_vllm("samples/model", load_tokenizer("samples/model"), options)
    asked = (engine.generate(prompt, Sampling(**one)) for prompt in prompts for one in samplings)
    print(json.dumps([[drawn.token_ids for drawn in completions] for completions in await asyncio.gather(*asked)]))
    for child in psutil.Process().children(recursive=True):
        print(child.pid, child.name(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.argv[1])))
"""


def test_two_engines_draw_what_one_does_and_end_with_a_killed_parent(
    loop: Any, vllm_engine: Engine, chat: ChatFormat, tmp_path: Path
) -> None:
    """One start for both: two engines, and what is left of them after a SIGKILL."""
    prompts = [ask(chat, question) for question in QUESTIONS]
    samplings = [{"max_tokens": 30, "temperature": 0.0}, {"max_tokens": 30, "seed": 7, "n": 2}]
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), json.dumps([samplings, prompts])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    drawn, *children = done.stdout.splitlines() or [""]
    assert done.returncode == -9 and sum("EngineCor" in child for child in children) == 2, done.stderr
    wanted = generate(loop, vllm_engine, prompts, *(Sampling(**one) for one in samplings))  # type: ignore[arg-type]
    assert json.loads(drawn) == [[list(one.token_ids) for one in completions] for completions in wanted]
    assert_they_end([int(child.split()[0]) for child in children])


LOADING = """
import asyncio, multiprocessing, os, signal, sys, threading, time
from synth.engines.loading import load_tokenizer
from synth.engines.base import EngineOptions
from synth.engines.vllm.engine import open_vllm

def kill():
    while not (started := multiprocessing.active_children()):
        time.sleep(0.01)
    with open(sys.argv[1], "w") as file:  # standard output is vLLM's while it loads
        print(*(process.pid for process in started), file=file)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    tokenizer = load_tokenizer("samples/model")
    threading.Thread(target=kill, daemon=True).start()
    asyncio.run(open_vllm("samples/model", tokenizer, EngineOptions()))
"""


def test_killed_while_the_model_loads_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "loading.py").write_text(LOADING)
    command = [sys.executable, str(tmp_path / "loading.py"), str(tmp_path / "pids")]
    assert subprocess.run(command, timeout=900).returncode == -9
    assert_they_end([int(pid) for pid in (tmp_path / "pids").read_text().split()])


def assert_they_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.1)
    assert [pid for pid in pids if alive(pid)] == []


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
