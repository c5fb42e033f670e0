import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from safetensors.torch import load_file

from cli.main import main
from samples import skills
from tests.cli.running import Command
from tests.synth.training.sharded import launched

Run = Callable[..., tuple[int, str, str]]
FAST = ("--device", "cpu", "--dtype", "float32", "--batch-tokens", 700, "--lr", 1e-3)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chance = Random(5)
    file = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    with open(file, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite("two_step", "train", 80):
            human = skills.human_answer(chance, answer, "natural")
            lines.write(json.dumps({"question": question, "answer": human}) + "\n")
    return file


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of an old skill, and one that nothing can be learnt from."""
    file = tmp_path_factory.mktemp("replay") / "words.jsonl"
    with open(file, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite("strings", "train", 20):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            lines.write(json.dumps({"messages": turns}) + "\n")
        lines.write(json.dumps({"messages": [{"role": "user", "content": "Where<|end|> is it?"}, turns[1]]}) + "\n")
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["train", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def same(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    left, right = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_a_run_and_what_it_says(run: Run, tasks: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    status, stdout, err = run(tasks, "--model", model, "-o", out, *FAST, "--steps", 3)
    assert status == 0 and stdout == ""
    assert "80 rows" in err and "with loss" in err and "LlamaForCausalLM on cpu, float32" in err
    assert f"{out} holds the trained model: 3 steps" in err
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "train" and record["accepted"] == 80 and record["settings"]["learning_rate"] == 1e-3
    card = (out / "README.md").read_text()
    assert "trained by `synth train` on 80 rows of `tasks.jsonl`" in card
    assert "- learning rate: 0.001\n" in card and "- steps: 3\n" in card
    passes = float(card.partition("- epochs: ")[2].partition("\n")[0])
    assert passes == pytest.approx(record["tokens"]["seen"] / record["tokens"]["tokens"], rel=1e-3) and passes != 1
    assert record["command_line"].startswith("synth train ") and record["command_line"] in card
    status, _, err = run(tasks, "--model", model, "-o", out, *FAST, "--steps", 3)
    assert status == 0 and "already holds the trained model" in err
    status, _, err = run(tasks, "--model", model, "-o", out, *FAST, "--steps", 4)
    assert status == 2 and "holds a run with other settings (steps: 3, now 4)" in err
    status, _, err = run(tasks, "--model", model, "-o", out, *FAST, "--steps", 4, "--restart", "--quiet")
    assert status == 0 and err == ""


def test_a_dry_run_trains_nothing(run: Run, tasks: Path, model: str, tmp_path: Path) -> None:
    status, out, _ = run(tasks, "--model", model, "--dry-run", "--epochs", 2, "-o", tmp_path / "none")
    assert status == 0 and not (tmp_path / "none").exists()
    assert "2.00 passes over the rows" in out and "row 2" in out and "row 3" not in out
    assert "⟦trained on⟧, not trained on" in out  # no colours here
    shown = out[out.index("row 0\n") :].replace("\n", "")
    answer = json.loads(tasks.read_text().splitlines()[0])["answer"]
    assert f"<|assistant|>⟦{answer}<|end|>⟧" in shown


def test_replay_beside_the_task(run: Run, tasks: Path, replay: Path, model: str, tmp_path: Path) -> None:
    options = (tasks, "--model", model, *FAST, "--steps", 2, "--replay", replay, "--replay-loss", "kl")
    status, out, _ = run(*options, "--dry-run")
    assert status == 0 and "all rows" in out and "left out: 1 rows, message 1 (user) holds" in out
    [line] = [line for line in out.splitlines() if line.startswith("words")]
    name, rows, tokens, with_loss, _, objective = line.split()
    assert (name, rows, objective) == ("words", "20", "replay") and int(with_loss) == int(tokens) - 20
    said = " ".join(out.split())
    assert "2 steps of up to 700 tokens" in said and "up to 175 tokens of it beside them in each" in said
    assert "kl on every token, weight 1" in said and "replay row 0 <bos>⟦<|user|>" in said
    status, _, err = run(*options, "-o", tmp_path / "out")
    assert status == 0 and f"replay: 20 rows, {tokens} tokens, {with_loss} with loss" in err
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["accepted"], record["rejected"]) == (80, 1) and record["settings"]["replay_loss"] == "kl"
    [part] = record["parts"]
    assert part["seen"] > 0 and part | {"seen": 0} == {
        **{"name": "words", "objective": "replay", "rows": 20},
        **{"tokens": int(tokens), "trained": int(with_loss), "seen": 0},
    }
    [rejected] = map(json.loads, (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert rejected["id"] == "replay row 20" and "a control token of this model" in rejected["reason"]
    for entry in map(json.loads, (tmp_path / "out" / "log.jsonl").read_text().splitlines()):
        assert entry["loss"] == pytest.approx(entry["task_loss"] + entry["replay_loss"], rel=1e-6)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "on 80 rows of `tasks.jsonl`" in card and "beside them on 20 rows of replay, `words`" in card
    assert "- replay loss: kl\n- replay positions: every\n- replay weight: 1.0\n" in card
    status, _, err = run(*options[:-1], "js", "-o", tmp_path / "out")
    assert status == 2 and 'other settings (replay_loss: "kl", now "js")' in err


def test_replay_of_any_form(run: Run, tasks: Path, model: str, tmp_path: Path) -> None:
    """Texts, and tokens without labels, of which a divergence needs none."""
    texts, tokens = tmp_path / "texts.jsonl", tmp_path / "tokens.jsonl"
    texts.write_text('{"text": "The moon is far."}\n{"text": "Rain falls."}\n')
    tokens.write_text('{"input_ids": [5, 6, 7, 8]}\n' * 3)
    status, out, err = run(tasks, "--model", model, "--dry-run", "--replay", texts)
    assert status == 0, err
    assert "The⟦ moon is far.<|end|>⟧" in out and "nll on the tokens trained on" in " ".join(out.split())
    status, out, err = run(tasks, "--model", model, "--dry-run", "--replay", tokens, "--replay-loss", "js")
    assert status == 0 and "75.0%" in out, err
    status, _, err = run(tasks, "--model", model, "--dry-run", "--replay", tokens)
    assert status == 2 and "--train-on all trains on every token" in err


def test_plain_texts_are_trained_on_whole(run: Run, model: str, tmp_path: Path) -> None:
    """A column `text` is known by itself, as in score-tokens, and beside conversations, too."""
    mixed = tmp_path / "mixed.jsonl"
    talk = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]
    rows = [{"text": "The moon is far."}, {"messages": talk}, {"text": "Rain falls."}]
    mixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows[::2]))
    for source in (texts, mixed):
        status, out, err = run(source, "--model", model, "--dry-run")
        assert status == 0, err
        assert "The⟦ moon is far.<|end|>⟧" in out and "ain falls.<|end|>⟧" in out and "left out" not in out
    assert "<|assistant|>⟦hi<|end|>⟧" in out.replace("\n", "")
    status, named, _ = run(texts, "--model", model, "--dry-run", "--text-column", "text")
    assert status == 0 and named == run(texts, "--model", model, "--dry-run")[1]


def test_the_floor_is_on_the_card(
    run: Run, tasks: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.progress.LOG_EVERY", 0.0)
    suites = []
    for name in ("strings", "two_step"):
        suites.append(tmp_path / f"{name}.jsonl")
        lines = [
            json.dumps({"prompt": question, "reference": answer, "verifier": "exact" if name == "strings" else "math"})
            for question, answer in skills.suite(name, "dev", 8)
        ]
        suites[-1].write_text("\n".join(lines))
    options = ("--eval", suites[0], "--new", suites[1], "--eval-every", 1, "--eval-tokens", 60, "--keep", "90%")
    fast = ("--device", "cpu", "--dtype", "float32", "--batch-tokens", 700, "--schedule", "constant_with_warmup")
    status, _, err = run(tasks, "--model", model, *fast, "--lr", 1e-2, "--steps", 40, *options, "-o", tmp_path / "out")
    assert status == 0, err
    first, *_ = [line for line in err.splitlines() if line.startswith("train: ")]
    assert (
        first == "train: 0 of 40 steps · evaluating: 1 of 16 answers"
    )  # before the first step there is something to see
    steps = [line["step"] for line in map(json.loads, (tmp_path / "out" / "log.jsonl").read_text().splitlines())]
    assert f"{tmp_path / 'out'} holds the trained model: {steps[-1] - 1} steps" in err
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Stopped at step {steps[-1]}, below 90%: the weights are those of step {steps[-1] - 1}." in card


def test_killed_anywhere_it_ends_where_it_would_have(run: Run, tasks: Path, model: str, tmp_path: Path) -> None:
    options = (tasks, "--model", model, *FAST, "--steps", 12, "--save-every", 2, "--dropout", 0.1)
    assert run(*options, "-o", tmp_path / "whole")[0] == 0
    parts = tmp_path / "parts"
    chance = Random(time.time_ns())  # anywhere: another place each time
    for _ in range(2):
        log, wanted = parts / "log.jsonl", chance.randint(1, 9)
        with Command("train", *options, "-o", parts) as process:
            while process.is_alive() and (not log.exists() or log.read_text().count("\n") < wanted):
                time.sleep(0.01)
            time.sleep(chance.random() * 0.3)
    assert run(*options, "-o", parts)[0] == 0
    assert same(tmp_path / "whole", parts) <= 1e-6
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 13))


def test_an_interrupt_saves_and_says_how_to_go_on(tasks: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    log = out / "log.jsonl"
    with Command("train", tasks, "--model", model, *FAST, "--steps", 400, "-o", out) as process:
        while process.is_alive() and (not log.exists() or not log.read_text()):
            time.sleep(0.05)
        process.interrupt()
        assert process.wait() == 1
        assert "finishing this step" in process.said and "run this again to continue" in process.said
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert (out / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").exists()


def test_two_processes_train_as_one(run: Run, tasks: Path, replay: Path, model: str, tmp_path: Path) -> None:
    options = (tasks, "--model", model, *FAST, "--steps", 3, "--replay", replay)
    assert run(*options, "--accumulate", 2, "-o", tmp_path / "one")[0] == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli"]
    done = subprocess.run(
        [*torchrun, "train", *map(str, options), "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("holds the trained model") == 1
    assert same(tmp_path / "one", tmp_path / "two") <= 2e-5
    losses = [
        [
            json.loads(line)[loss]
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
            for loss in ("loss", "task_loss", "replay_loss")
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("adapter", [(), ("--lora", 4)])
def test_a_model_shared_among_processes_is_saved_whole(
    run: Run, tasks: Path, replay: Path, model: str, tmp_path: Path, adapter: tuple[object, ...]
) -> None:
    """FSDP, with the checkpoints it makes unless told otherwise: in shards."""
    beside = ("--kl", 0.1, "--replay", replay, "--replay-loss", "kl")
    options = (tasks, "--model", model, *FAST, "--steps", 2, "--save-every", 1, *beside, *adapter)
    assert run(*options, "--accumulate", 2, "-o", tmp_path / "one")[0] == 0
    with launched("train", *options, "-o", tmp_path / "shared") as processes:
        for process in processes:
            assert process.wait() == 0, process.said[-2000:]
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "shared")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    if not adapter:  # Adam steps by the sign of an adapter's first gradients, of which some are rounding alone
        assert same(tmp_path / "one", tmp_path / "shared") <= 2e-5
    assert same(tmp_path / "shared", Path(model)) > 1e-4
    assert (tmp_path / "shared" / "adapter" / "adapter_model.safetensors").exists() == bool(adapter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say where the model goes"),
        (("-o", "x", "--steps", 3, "--epochs", 2), "two ways to say how long"),
        (("-o", "x", "--keep", "95%"), "--keep is a share"),
        (("-o", "x", "--kl-on", "replay"), "--kl-on says where --kl is taken"),
        (("-o", "x", "--kl", 0.1, "--kl-on", "replay"), "no row is of that source"),
        (("-o", "x", "--replay-weight", 3), "--replay-weight is of replay, and there is none: give --replay or --rep"),
        (("-o", "x", "--replay-loss", "kl"), "--replay-loss is of replay, and there is none"),
        (("-o", "x", "--replay-positions", "every"), "--replay-positions is of replay"),
        (("-o", "x", "--replay-batch-tokens", 100), "--replay-batch-tokens is of replay"),
        (("-o", "x", "--replay", "a", "--replay-on", "b"), "--replay and --replay-on are two ways"),
        (("-o", "x", "--replay", "nowhere.jsonl"), "nowhere.jsonl"),
        (("-o", "x", "--replay-on", "magpie"), "--replay-on magpie: no row is of that source; there are: none (see"),
        (("-o", "x", "--freeze", "everything"), "--freeze everything is unknown"),
        (("--dry-run", "--freeze", "everything"), "--freeze everything is unknown"),
        (("--dry-run", "--freeze", "layers:0-99"), "the model has the layers 0-"),
        (("-o", "x", "--lora", 4, "--peft", "f.json"), "give one of them"),
        (("-o", "x", "--quantise", "4bit"), "--quantise is of the model around an adapter: give --lora or --peft, too"),
        (("-o", "x", "--lora", 4, "--weights", "bfloat16"), "--weights are those of a model that is trained whole"),
        (("-o", "x", "--dtype", "float32", "--weights", "bfloat16"), "are computed in bfloat16: leave --dtype"),
        (("-o", "x", "--eaft-alpha", 2), "give --loss eaft"),
        (("-o", "x", "--warmup", "150%"), "--warmup is a share"),
        (("-o", "x", "--text-column", "nowhere"), "no column of texts 'nowhere'"),
        (("-o", "x", "--max-length", 100_000), "the model's window holds 512"),
        (("-o", "x", "--batch-tokens", 4), "nothing to train on: of 80 rows none"),
        (("-o", "x", "--accumulate", 500), "80 rows are too few for steps of 500 batches"),
        (("-o", "x", "--device", "cuda"), "not available"),
        (("-o", "x", "--eval", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_bad_settings_end_with_status_2(
    run: Run, tasks: Path, model: str, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    given = [tmp_path / "x" if option == "x" else option for option in options]
    status, _, err = run(tasks, "--model", model, *given)
    assert status == 2 and message in err and len(err.strip().splitlines()[-1]) < 500


def test_tokens_without_labels_need_to_be_told(run: Run, model: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input_ids": [5, 6, 7, 8]}\n' * 3)
    status, _, err = run(rows, "--model", model, "--dry-run")
    assert status == 2 and "--train-on all trains on every token" in err
    status, out, _ = run(rows, "--model", model, "--dry-run", "--train-on", "all")
    assert status == 0 and "75.0%" in out


def test_masked_tokens_are_not_learnt(run: Run, tasks: Path, model: str, tmp_path: Path) -> None:
    """What `score-tokens` masks has no loss: the number of tokens with loss is that of its labels."""
    masked = tmp_path / "masked"
    with pytest.raises(SystemExit) as stop:
        main(
            ["score-tokens", str(tasks), "--model", model, "--mask-above", "2.5", "--device", "cpu", "-o", str(masked)]
        )
    assert stop.value.code == 0
    import datasets

    labels = [label for row in datasets.load_from_disk(str(masked)) for label in row["labels"]]
    out = tmp_path / "out"
    assert run(masked, "--model", model, "-o", out, *FAST, "--steps", 1)[0] == 0
    tokens = json.loads((out / "run.json").read_text())["tokens"]
    assert tokens["tokens"] == len(labels) and tokens["trained"] == sum(label != -100 for label in labels)
