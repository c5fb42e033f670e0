"""GRPO: TRL's trainer on our prompts, batches, rewards and folders."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

import synth
from filters.execution.sandbox import isolation_missing
from samples import skills
from samples.lab.suites import item
from synth.api.rewards import rewards
from synth.chat.format import ChatFormat
from synth.data.read import open_rows
from synth.errors import UsageError
from synth.progress import SILENT
from synth.scoring.encoding import RowEncoder
from synth.training.inputs import read_input
from synth.training.method import MethodSettings, method_settings
from synth.training.method_rows import TrainingPrompts
from synth.training.replay import join_replay
from synth.training.rewarding import try_reward
from synth.training.rows import read_training_rows
from synth.training.settings import ReplaySettings, RowSettings, TrainingSettings
from tests.synth.training.conftest import VOCABULARY, Train, weights

pytest.importorskip("trl")
STEPS = TrainingSettings(
    steps=2, learning_rate=1e-4, tokens_per_batch=2000, dtype="float32", schedule="constant", warmup=0
)
CHECKS = "tests.synth.training.rewarded"
TASKS = [item("two_step", question, answer) for question, answer in skills.suite("two_step", "train", 12)]


def grpo(*reward: str, limit: float = 10.0, **own: Any) -> MethodSettings:
    found = method_settings("grpo", **{"generations": 4, "max_tokens": 48} | own)
    assert found is not None
    return replace(found, rewarding=rewards(*reward, time_limit=limit))


Read = Callable[..., TrainingPrompts]


@pytest.fixture
def read(model: str, tmp_path: Path) -> Read:
    """Rows as GRPO is given them."""

    def rows(records: list[dict[str, Any]], method: MethodSettings) -> TrainingPrompts:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        found = read_input(str(file), model, RowSettings(), 512, SILENT, method=method).rows
        assert isinstance(found, TrainingPrompts)
        return found

    return rows


def logged(folder: Any, name: str) -> list[float]:
    return [entry[name] for entry in folder.log]


def test_steps_are_those_of_trls_trainer_by_hand(
    run: Train, read: Read, model: str, tmp_path: Path, chat: ChatFormat
) -> None:
    from trl import GRPOConfig, GRPOTrainer

    method = grpo("math", beta=0.05, temperature=1.5)
    rows = read(TASKS[:4], method)
    settings = replace(STEPS, tokens_per_batch=16 * int(rows.room.max()))
    _, folder = run("ours", settings, rows=rows, method=method)
    order = [int(row) for batch in rows.plan(settings, 1) for row in batch[::4]]
    asked = [
        {"prompt": [{"role": "user", "content": TASKS[row]["prompt"]}], "reference": TASKS[row]["reference"]}
        for row in order
    ]
    arguments = GRPOConfig(
        str(tmp_path / "theirs"),
        per_device_train_batch_size=16,
        num_generations=4,
        max_completion_length=48,
        beta=0.05,
        temperature=1.5,
        shuffle_dataset=False,
        max_steps=2,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        seed=0,
    )
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    net.generation_config.eos_token_id = sorted(rows.ends)
    trainer = GRPOTrainer(
        net, method.rewarding, args=arguments, train_dataset=Dataset.from_list(asked), processing_class=chat.tokenizer
    )
    trainer.train()
    theirs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in ("reward", "completions/mean_length", "kl", "loss", "grad_norm"):
        assert logged(folder, name) == pytest.approx([entry[name] for entry in theirs], rel=1e-3, abs=1e-5), name
    assert all(grad > 1e-3 for grad in logged(folder, "grad_norm"))


@pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))
def test_mathematics_and_programs_are_rewarded_by_what_their_rows_name(run: Train, read: Read) -> None:
    """In one step; the sample model can do both, but not everything of the new skill."""
    code = [item("code", question, answer) for question, answer in skills.suite("code", "test", 2)]
    plain = [item("arithmetic", question, answer) for question, answer in skills.suite("arithmetic", "test", 2)]
    method = grpo(generations=2, max_tokens=100)
    rows = read([*code, *plain, TASKS[0] | {"verifier": "json"}], method)
    settings = replace(STEPS, steps=1, tokens_per_batch=10 * int(rows.room.max()))
    _, folder = run("out", settings, rows=rows, method=method)
    [entry] = folder.log
    assert entry["reward"] == pytest.approx(0.8) and entry["unscorable"] == 0
    tokens = folder.record.tokens
    assert tokens["answers"] == 10 and tokens["generated"] == round(10 * entry["completions/mean_length"])
    assert tokens["seen"] == entry["tokens"] == tokens["generated"] + 2 * rows.sizes.sum()


def test_broken_off_and_continued_it_ends_where_it_would_have(run: Train, read: Read) -> None:
    """Also where the answers to a prompt are of several batches."""
    method = grpo("math", "length:target=20", temperature=1.5)
    rows = read(TASKS, method)
    settings = replace(STEPS, steps=3, save_every=1, gradient_accumulation_steps=4, tokens_per_batch=110)
    given: dict[str, Any] = {"rows": rows, "method": method}
    _, whole = run("whole", settings, **given)

    def crash(entry: dict[str, Any], steps: int) -> None:
        if entry["step"] == 2:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        run("parts", settings, report=crash, **given)
    said: list[str] = []
    _, again = run("parts", settings, say=said.append, **given)
    assert "continuing from checkpoint-1" in said
    for name in ("reward", "rewards/math+length/length", "loss", "tokens", "completions/mean_length"):
        assert logged(again, name) == pytest.approx(logged(whole, name), rel=1e-5), name
    found = weights(again.path)
    assert all((found[key] - tensor).abs().max() <= 1e-6 for key, tensor in weights(whole.path).items())


def test_a_check_that_never_ends_counts_for_nothing(run: Train, read: Read) -> None:
    method = grpo(f"{CHECKS}:hangs", limit=0.2, generations=2, max_tokens=8)
    rows = read([TASKS[0] | {"reference": "hang"}, *TASKS[1:3]], method)
    settings = replace(STEPS, steps=1, tokens_per_batch=6 * int(rows.room.max()))
    _, folder = run("out", settings, rows=rows, method=method)
    [entry] = folder.log
    assert entry["unscorable"] == 2 and entry["reward"] == 1 and entry["grad_norm"] == 0


@pytest.mark.parametrize("loss", ["nll", "kl"])
def test_replay_beside_it_is_the_objective_that_it_is_alone(
    run: Train, read: Read, chat: ChatFormat, tmp_path: Path, loss: Any
) -> None:
    """Rewards that are all alike teach nothing: what is left of a step is replay."""
    method = grpo(f"{CHECKS}:always", generations=2, max_tokens=8)
    file = tmp_path / "replay.jsonl"
    pairs = skills.suite("strings", "train", 8)
    file.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs))
    replay = read_training_rows(open_rows(str(file)), RowEncoder(chat, window=512), VOCABULARY)
    room = int(replay.sizes.max() * len(replay))  # all of it in a batch
    beside = replace(STEPS, replay=ReplaySettings(room, weight=0.5, loss=loss), gradient_accumulation_steps=2)
    _, folder = run("beside", beside, rows=join_replay(read(TASKS[:4], method), replay, "replay"), method=method)
    assert logged(folder, "reward") == [1, 1]
    if loss == "kl":
        assert logged(folder, "replay_loss")[0] == pytest.approx(0, abs=1e-6)
        return
    _, alone = run("alone", replace(STEPS, tokens_per_batch=int(replay.sizes.sum())), rows=replay)
    assert logged(folder, "replay_loss") == pytest.approx(logged(alone, "loss"), rel=1e-3)
    assert logged(folder, "loss") == pytest.approx([0.5 * one for one in logged(alone, "loss")], rel=1e-3)
    assert logged(folder, "grad_norm")[0] == pytest.approx(0.5 * logged(alone, "grad_norm")[0], rel=1e-3)


@pytest.fixture
def suite(tmp_path: Path) -> str:
    """An old ability, whose rows name their verifier."""
    file = tmp_path / "strings.jsonl"
    rows = [item("strings", question, answer) for question, answer in skills.suite("strings", "test", 6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_suite_is_trained_on_until_the_floor(suite: str, model: str, tmp_path: Path) -> None:
    """Answers are rewarded for their length alone, at a learning rate that breaks the model in its second step."""
    torch.set_num_threads(1)
    tuned = synth.train(
        suite,
        model,
        output=tmp_path / "out",
        method="grpo",
        reward=["exact", "length"],
        reward_weights=[0, 1],
        generations=3,
        max_tokens=24,
        temperature=1.5,
        tokens_per_batch=1024,
        steps=5,
        warmup=0.4,
        learning_rate=0.03,
        device="cpu",
        suites=suite,
        eval_every=1,
        eval_tokens=16,
        keep=0.9,
        progress=SILENT,
    )
    fell = tuned.steps
    assert 1 < fell < 5 and tuned.curve[0]["kept"] == 1 and tuned.curve[-1]["kept"] < 0.9
    card = (tuned.path / "README.md").read_text()
    assert f"Stopped at step {fell}, below 90%: the weights are those of step {fell - 1}." in card
    assert '- reward: ["exact", "length"]\n- reward weights: [0, 1]\n- generations: 3\n' in card
    drawn = tuned.record.tokens
    assert f"- answers that it wrote meanwhile: {drawn['answers']:,.0f} of {drawn['generated']:,.0f} tokens" in card


def test_what_is_seen_before_a_model_is_loaded(suite: str, model: str, tmp_path: Path) -> None:
    few: dict[str, Any] = {"method": "grpo", "max_tokens": 48, "device": "cpu", "dry_run": True, "progress": SILENT}
    plan = synth.train(suite, model, generations=4, tokens_per_batch=400, **few).plan
    assert plan.passes == 1 and "each 4 times" in str(plan.note)
    for given, said in (
        ({"reward": "maths"}, "`reward`: there is no reward maths"),
        ({"reward": "code"}, "`reward` code judges none .*unscorable"),
        ({"reward_weights": [1, 2]}, "`reward_weights`: 2 for 1 parts"),
        ({"reward": ["exact", "judge"]}, "`reward` judge needs a model of its own"),
        ({"reward": ["exact", "logprob"]}, "`reward` logprob needs a model of its own"),
        ({"generations": 8, "tokens_per_batch": 300}, "no room for 8 answers .* `gradient_accumulation_steps` 4"),
        ({"replay": "fresh"}, "takes replay that is there"),
        ({"replay_sources": "old", "replay": suite}, "`replay_sources` does not go with `method` grpo"),
        ({"kl_coef": 0.1}, "`kl_coef` does not go with `method` grpo"),
        ({"teacher": model}, "`teacher` does not go with `method` grpo"),
        ({"temperature": 0.0}, "`temperature` of grpo is more than 0"),
        ({"generations": 1}, "`generations` of grpo is 2 or more"),
        ({"rollout_engine": "vlm"}, "`rollout_engine` vlm: transformers, vllm, or the address"),
    ):
        with pytest.raises(UsageError, match=said):
            synth.train(suite, model, **few | given)


def test_rewards_that_references_say_nothing_of_are_taken() -> None:
    """Tests or a schema may stand for a reference; votes need several answers; one's own may want a form around it."""
    bare = {
        "prompt": [{"role": "user", "content": "Name a colour."}],
        "reference": None,
        "schema": '{"type": "object"}',
    }
    without = rewards("json", "majority")
    assert try_reward(without, [bare, bare]) is None
    with pytest.raises(UsageError, match=r"`reward` json judges none of the first 2 references right \(row 0: wrong"):
        try_reward(without, [bare | {"reference": "four"}] * 2)
    without.close()
    own = rewards(f"{CHECKS}:cut_off")
    assert try_reward(own, [bare | {"reference": "4"}]) == "of the first 1 references right: 0 by cut_off"
    own.close()


def test_thoughts_that_the_prompt_opens_are_seen_to_be_cut_off(run: Train, hybrid: str, tmp_path: Path) -> None:
    """As with DeepSeek-R1's distilled models: neither the prompt's messages nor the text that is drawn show them."""
    thinking = tmp_path / "thinking"
    shutil.copytree(hybrid, thinking)
    template = thinking / "chat_template.jinja"
    opened = re.sub(r"\{%-? if add_generation_prompt.*", "", template.read_text(), flags=re.DOTALL)
    template.write_text(opened + "{% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}")
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in TASKS[:2]))
    method = grpo(f"{CHECKS}:cut_off", generations=2, max_tokens=4)
    rows = read_input(str(file), str(thinking), RowSettings(), 512, SILENT, method=method).rows
    settings = replace(STEPS, steps=1, tokens_per_batch=4 * int(rows.room.max()))
    _, folder = run("out", settings, rows=rows, method=method, model=str(thinking))
    assert logged(folder, "reward") == [1]


def test_groups_are_whole_in_every_step_of_a_process(read: Read) -> None:
    """However they are spread over its batches."""
    rows = read(TASKS, grpo(generations=6))
    longest = int(rows.room.max())
    for batches, fit, processes in ((1, 13, 2), (4, 3, 1), (3, 2, 2)):
        settings = replace(STEPS, tokens_per_batch=fit * longest, gradient_accumulation_steps=batches)
        plan = rows.plan(settings, batches * processes)
        assert len(plan) == 2 * batches * processes and len({len(batch) for batch in plan}) == 1
        assert len(plan[0]) <= fit
        for step in (plan[: batches * processes], plan[batches * processes :]):
            for process in range(processes):
                drawn = [int(row) for batch in step[process::processes] for row in batch]
                assert all(drawn[at : at + 6] == drawn[at : at + 1] * 6 for at in range(0, len(drawn), 6))


@pytest.mark.parametrize("engine", ["vllm", "http://localhost:8000"])
def test_what_trl_is_told_of_vllm(read: Read, tmp_path: Path, engine: str) -> None:
    from synth.training.grpo import PlannedGRPO

    method = grpo("math", rollout_engine=engine)
    rows = read(TASKS, method)
    kind, given = PlannedGRPO.arguments(method, rows, STEPS)
    told = kind(str(tmp_path), bf16=False, use_cpu=True, report_to="none", **given)
    assert told.use_vllm and told.generation_kwargs == {"stop_token_ids": sorted(rows.ends)}
    assert told.vllm_mode == ("colocate" if engine == "vllm" else "server")
    assert engine == "vllm" or told.vllm_server_base_url == engine
