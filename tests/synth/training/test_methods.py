"""Preferences and distillation: TRL's trainers on our tokens, batches and folders."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from samples import skills
from synth.chat.format import ChatFormat
from synth.errors import UsageError
from synth.progress import SILENT
from synth.training.inputs import read_input
from synth.training.method import MARGIN, MethodSettings, method_settings
from synth.training.method_rows import TrainingPairs, TrainingPrompts
from synth.training.settings import RowSettings, TrainedParts, TrainingSettings
from tests.synth.training.conftest import Train, weights

pytest.importorskip("trl")
THREE = TrainingSettings(
    steps=3, learning_rate=1e-4, tokens_per_batch=800, dtype="float32", schedule="constant", warmup=0
)


def of(method: str, **own: Any) -> MethodSettings:
    found = method_settings(method, **own)  # type: ignore[arg-type] # a test's parameter
    assert found is not None
    return found


DPO = of("dpo")


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    """Eight tasks with two answers in the model's words, the second wrong, as TRL takes pairs."""
    return [
        {
            "prompt": [{"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": answer}],
            "rejected": [{"role": "assistant", "content": f"{answer} The answer is 7."}],
        }
        for question, answer in skills.suite("two_step", "train", 8)
    ]


Read = Callable[..., Any]


@pytest.fixture
def read(model: str, tmp_path: Path) -> Read:
    """What a method is given of some rows."""

    def rows(records: list[dict[str, Any]], method: MethodSettings = DPO, room: int = 2048, **row: Any) -> Any:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return read_input(str(file), model, RowSettings(**row), room, SILENT, method=method).rows

    return rows


def logged(folder: Any, name: str = "loss") -> list[float]:
    return [entry[name] for entry in folder.log]


def log_probabilities(model: str, rows: TrainingPairs) -> torch.Tensor:
    """The mean log-probability of a token of either answer, pair by pair, worked out row by row."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = torch.zeros(len(rows), 2)
    with torch.no_grad():
        for row in range(len(rows)):
            for which in (0, 1):
                ids, answer = rows.side(row, which)
                tokens = torch.tensor(ids, dtype=torch.int64)
                logs = net(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
                found[row, which] = logs[torch.tensor(answer[1:])].mean()
    return found


def test_two_steps_are_those_of_trls_trainer_by_hand(
    run: Train, read: Read, told: list[dict[str, Any]], model: str, chat: ChatFormat, tmp_path: Path
) -> None:
    from trl import DPOConfig, DPOTrainer

    rows = read(told)
    settings = replace(THREE, steps=2, tokens_per_batch=len(told) * int(rows.room.max()))  # all of them in each step
    _, folder = run("ours", settings, rows=rows, method=DPO)
    arguments = DPOConfig(
        str(tmp_path / "theirs"),
        per_device_train_batch_size=len(told),
        max_steps=2,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
    )
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trainer = DPOTrainer(net, args=arguments, train_dataset=Dataset.from_list(told), processing_class=chat.tokenizer)
    trainer.train()
    theirs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in ("loss", MARGIN, "logps/chosen", "grad_norm"):
        assert logged(folder, name) == pytest.approx([entry[name] for entry in theirs], rel=1e-3, abs=2e-5), name
    own = weights(folder.path)
    apart = [(own[name] - tensor).abs().max() for name, tensor in net.state_dict().items() if name in own]
    assert len(apart) == len(own) and max(apart) < 1e-5  # Adam's first steps are the learning rate, 1e-4
    assert logged(folder, MARGIN)[1] > 0


def test_pairs_are_not_compared_with_a_part_of_the_model(
    run: Train, read: Read, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "peft.json"
    file.write_text(json.dumps({"peft_type": "LORA", "init_lora_weights": "pissa", "target_modules": "all-linear"}))
    with pytest.raises(UsageError, match="no model before training"):
        run("out", THREE, rows=read(told), method=DPO, trained=TrainedParts(peft=str(file)))


@pytest.mark.parametrize("name", ["dpo", "simpo"])
def test_every_pair_of_a_step_weighs_the_same(run: Train, read: Read, told: list[dict[str, Any]], name: str) -> None:
    """In one batch, or in two of several sizes."""
    method, rows = of(name), read(told)
    whole = replace(THREE, steps=1, tokens_per_batch=8 * int(rows.room.max()))
    parts = replace(whole, steps=None, tokens_per_batch=5 * int(rows.room.max()), gradient_accumulation_steps=2)
    assert [len(batch) for batch in rows.plan(parts, 2)] == [5, 3]
    _, one = run("one", whole, rows=rows, method=method)
    _, two = run("two", parts, rows=rows, method=method)
    assert logged(two, "grad_norm")[0] == pytest.approx(logged(one, "grad_norm")[0], rel=1e-3)


def test_the_first_losses_are_what_their_papers_say(
    run: Train, read: Read, told: list[dict[str, Any]], model: str
) -> None:
    rows = read(told)
    means = log_probabilities(model, rows)
    margin = 2.0 * (means[:, 0] - means[:, 1])
    by_hand = {
        "ipo": (1 / (2 * 0.1)) ** 2,
        "simpo": float(-torch.nn.functional.logsigmoid(margin - 1.0).mean()),
    }
    for name, loss in by_hand.items():
        settings = replace(THREE, steps=2, tokens_per_batch=len(told) * int(rows.room.max()))
        _, folder = run(name, settings, rows=rows, method=of(name))
        assert logged(folder)[0] == pytest.approx(loss, rel=1e-4), name
        assert logged(folder, MARGIN)[1] > logged(folder, MARGIN)[0]


def noisy(model: str, folder: Path) -> str:
    """The sample model, damaged."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.3 * weight.std() * torch.randn_like(weight)
    net.save_pretrained(folder)
    return str(folder)


PROMPTS = [{"question": question} for question, _ in skills.suite("strings", "train", 12)]


@pytest.mark.parametrize("name", ["dpo", "distil"])
def test_broken_off_and_continued_it_ends_where_it_would_have(
    run: Train, read: Read, told: list[dict[str, Any]], model: str, name: str
) -> None:
    """What distillation draws included, after a crash that left no more than a checkpoint."""
    method = DPO if name == "dpo" else of("distil", teacher=model, max_tokens=12)
    rows = read(told if name == "dpo" else PROMPTS, method)
    settings = replace(THREE, steps=4, save_every=2, gradient_accumulation_steps=2, tokens_per_batch=300)
    trained = TrainedParts(lora=4) if name == "dpo" else TrainedParts()
    given = {"rows": rows, "method": method, "trained": trained}
    _, whole = run("whole", settings, **given)

    def crash(entry: dict[str, Any], steps: int) -> None:
        if entry["step"] == 3:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        run("parts", settings, report=crash, **given)
    said: list[str] = []
    outcome, again = run("parts", settings, say=said.append, **given)
    assert outcome.steps == 4 and "continuing from checkpoint-2" in said
    assert logged(again) == pytest.approx(logged(whole), rel=1e-5)
    assert logged(again, "tokens") == logged(whole, "tokens")
    assert [sum(logged(one, "tokens")) for one in (again, whole)] == [again.record.tokens["seen"]] * 2
    found = weights(again.path)
    assert all((found[key] - tensor).abs().max() <= 1e-6 for key, tensor in weights(whole.path).items())
    if name == "dpo":
        assert not (again.path / "adapter" / "ref").exists()


def test_distillation_brings_a_damaged_model_back(run: Train, read: Read, model: str, tmp_path: Path) -> None:
    method = of("distil", teacher=model, max_tokens=24)
    rows = read(PROMPTS, method)
    assert isinstance(rows, TrainingPrompts) and rows.trained == 0
    student = noisy(model, tmp_path / "student")
    settings = replace(THREE, steps=8, learning_rate=3e-4, tokens_per_batch=400)
    _, folder = run("out", settings, rows=rows, method=method, model=student)
    losses = logged(folder)
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert all(entry["tokens"] > 0 and 0 < entry["completions/mean_length"] <= 24 for entry in folder.log)
    kept, came = (json.loads((Path(one) / "generation_config.json").read_text()) for one in (folder.path, student))
    assert kept == came  # TRL's changes to it, for itself, are not saved
    _, same = run("same", replace(settings, steps=1), rows=rows, method=method)
    assert logged(same)[0] == pytest.approx(0, abs=1e-5)


def test_prompts_fill_every_step(read: Read) -> None:
    rows = read(PROMPTS, of("distil", teacher="samples/model", max_tokens=20))
    batches = rows.plan(replace(THREE, steps=None, epochs=1.0, tokens_per_batch=500), 2)
    sizes = {len(batch) for batch in batches}
    assert len(sizes) == 1 and len(batches) % 2 == 0
    assert {int(row) for batch in batches for row in batch} == set(range(12))
    with pytest.raises(UsageError, match="12 prompts are too few for steps of 13 batches"):
        rows.plan(THREE, 13)


def test_pairs_as_strangers_publish_them(read: Read, chat: ChatFormat) -> None:
    human = "\n\nHuman: Is it day?\n\nAssistant: Look out.\n\nHuman: I did.\n\nAssistant:"
    asked = [{"role": "user", "content": "Is it day?"}]
    turns = [[*asked, {"role": "assistant", "content": answer}] for answer in ("Yes.", "No idea.")]
    for records, before in (
        ([{"chosen": f"{human} It is.", "rejected": f"{human} Go away."}], "Look out."),  # HH-RLHF
        ([{"chosen": turns[0], "rejected": turns[1]}], "Is it day?"),  # TRL, the prompt within
        ([{"prompt": "Is it day?", "chosen": "Yes.", "rejected": "No idea."}], "Is it day?"),  # texts
    ):
        rows = read(records)
        assert isinstance(rows, TrainingPairs)
        sides = [rows.side(0, which) for which in (0, 1)]
        (better, answer), (worse, other) = sides
        start = int(answer.argmax())
        assert (better[:start] == worse[:start]).all() and before in chat.tokenizer.decode(better[:start])
        assert [chat.tokenizer.decode(ids[wanted]) for ids, wanted in sides] in (
            ["It is.<|end|>", "Go away.<|end|>"],
            ["Yes.<|end|>", "No idea.<|end|>"],
        )
        assert answer[start:].all() and other[start:].all()


def test_rows_that_are_no_pairs_are_rejected(read: Read, told: list[dict[str, Any]]) -> None:
    long = {"role": "assistant", "content": "word " * 600}
    later = [{"role": "assistant", "content": "Hm."}, {"role": "user", "content": "So?"}, *told[0]["chosen"]]
    bad = [
        told[0] | {"rejected": told[0]["chosen"]},
        told[0] | {"chosen": [long]},
        told[0] | {"chosen": later},
        told[0] | {"rejected": []},
    ]
    rows = read([*told[:2], *bad])
    assert len(rows) == 2
    reasons = [reason for _, reason in rows.rejected]
    assert reasons[0] == "both answers are the same" and reasons[1].startswith("overlong: ")
    assert reasons[2].startswith("chosen is not one answer")
    assert len(reasons) == 4
    wide = read(told, room=150)  # both sides in one batch: each has half of it
    assert len(wide) < len(told) and all(wide.room <= 150)
    with pytest.raises(UsageError, match=r"answer of 600 .*, the window holds 512"):
        read(PROMPTS, of("distil", teacher="samples/model", max_tokens=600))


@pytest.mark.parametrize(
    ("method", "own", "said"),
    [
        ("sft", {"beta": 0.1}, "`beta` does not go with `method` sft"),
        ("dpo", {"reward": ["math"]}, "`reward` does not go with `method` dpo"),
        ("dpo", {"teacher": "M"}, "`teacher` does not go with `method` dpo"),
        ("ipo", {"beta": 0.0}, "`beta` of ipo is more than 0"),
        ("distil", {}, "name it with `teacher`"),
        ("distil", {"teacher": "M", "beta": 2.0}, "from 0 .* to 1"),
        ("distil", {"teacher": "M", "temperature": 0.0}, "`temperature` of distil is more than 0"),
    ],
)
def test_settings_of_other_methods_are_refused(method: Any, own: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        method_settings(method, **own)


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(kl_coef=0.1),
        TrainingSettings(lm_loss_coef=0.1),
        TrainedParts(dropout=0.1),
        TrainedParts(lora=4, lora_dropout=0.1),
        RowSettings(train_on="all"),
        RowSettings(text_column="body"),
        RowSettings(overlong="truncate"),
    ],
)
def test_settings_that_mean_nothing_to_a_method_are_refused(settings: Any) -> None:
    with pytest.raises(UsageError, match=r"`\w+` does not go with `method` dpo"):
        DPO.check(settings)


def test_without_trl_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.training.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"`method` dpo needs trl, .* pip install -e '\.\[trl\]'"):
        DPO.check(TrainingSettings())


def test_what_a_method_cannot_take_is_refused(read: Read, hybrid: str) -> None:
    with pytest.raises(UsageError, match="takes preference pairs"):
        read(PROMPTS)
    with pytest.raises(UsageError, match=f"`teacher` {hybrid} has other tokens"):
        read(PROMPTS, of("distil", teacher=hybrid))
