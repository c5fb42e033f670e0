"""Tasks for trainers that draw answers themselves: what is written is loaded, and rewarded, by the trainers."""

import asyncio
import json
import runpy
import shlex
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

import synth
from filters.execution.sandbox import isolation_missing
from synth.exports.task_trainers import package
from tests.conftest import Here

Export = Callable[..., str]

SUMS: list[dict[str, Any]] = [
    {"question": f"What is {a} + {b}?", "answer": f"{a} + {b} = {a + b}. The answer is {a + b}.", "level": a}
    for a, b in ((1, 2), (3, 4), (5, 6), (7, 8))
]
BAD: list[dict[str, Any]] = [
    {"question": "What is 2 + 2?", "answer": "It is four.", "level": 9},
    {"question": "", "answer": "The answer is 2.", "level": 9},
    {"question": "What is 3 + 3?", "answer": None, "level": 9},
]
QUICK = {"max_steps": 1, "report_to": [], "use_cpu": True, "save_strategy": "no", "bf16": False}


def written(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    return written(tmp_path / "sums.jsonl", SUMS + BAD)


@pytest.fixture
def export(here: Here, sums: Path, tmp_path: Path) -> Export:
    """Exports the sums, or other rows, to `out`; the configuration that was printed."""

    def run(trainer: str, *options: object, source: Path = sums, left_out: str = "") -> str:
        done = here("export", source, "--for", trainer, *options, "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert left_out in done.stderr, done.stderr
        return done.stdout

    return run


def run_config(
    config: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, **more: Any
) -> Any:
    """Run the printed Python as it is, but for the model's name and a quick training; its trainer."""
    config_class = getattr(module, name)
    quick = QUICK | more | {"output_dir": str(tmp_path / "tuned")}
    monkeypatch.setattr(module, name, lambda **given: config_class(**(given | quick)))
    there: dict[str, Any] = {}
    exec(config.replace("MODEL", model).replace("TEACHER", model), there)
    return there["trainer"]


def test_grpo_rewards_by_the_columns(
    export: Export, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trl = pytest.importorskip("trl")
    config = export("grpo", "--verifier", "math", left_out="2 rows left out: 1 reference wrong, 1 no reference")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows.column_names == ["prompt", "reference", "verifier", "level"]
    assert list(rows["level"]) == [1, 3, 5, 7] and set(rows["verifier"]) == {"math"}
    settings = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 24}
    trainer = run_config(config, model, tmp_path, monkeypatch, trl, "GRPOConfig", logging_steps=1, **settings)
    log = trainer.state.log_history[0]
    assert 0 <= log["rewards/math/mean"] <= 1 and log["reward"] == log["rewards/math/mean"]


@pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))
def test_programs_are_rewarded_by_the_tests_that_come_with_them(export: Export, tmp_path: Path) -> None:
    programs = [
        {
            "text": "Write a function double.",
            "code": "def double(n):\n    return 2 * n",
            "test_list": ["assert double(4) == 8"],
            "test_setup_code": "",
            "challenge_test_list": [],
            "task_id": 1,
        }
    ]
    export("grpo", source=written(tmp_path / "mbpp.jsonl", programs))
    [row] = datasets.load_from_disk(str(tmp_path / "out"))
    assert row["verifier"] == "code"
    answers = ["```python\ndef double(n):\n    return n + n\n```", "def double(n):\n    return n"]
    columns: dict[str, Any] = {name: [value] * 2 for name, value in row.items() if name != "prompt"}
    reward = synth.rewards("code")
    assert reward([row["prompt"]] * 2, answers, **columns) == [1.0, 0.0]
    reward.close()


def test_rows_may_name_their_verifiers(export: Export, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "2 + 2?", "reference": "4", "verifier": "number"},
        {"prompt": "Capital of France?", "reference": "Paris", "verifier": "exact"},
        {"prompt": "Odd?", "reference": "yes", "verifier": "os:system"},
        {"prompt": "Sure?", "reference": "yes", "verifier": None},
    ]
    config = export("grpo", source=written(tmp_path / "rows.jsonl", rows), left_out="2 rows left out: 2 no verifier")
    assert "reward_functions.verifier," in config
    assert list(datasets.load_from_disk(str(tmp_path / "out"))["verifier"]) == ["number", "exact"]


def test_settings_of_the_verifier_are_in_the_configuration(export: Export, tmp_path: Path) -> None:
    config = export("grpo", "--verifier", "regex", "--pattern", "[0-9]+", "--time-limit", "2")
    assert "synth.rewards(VerifierSettings('regex', time_limit=2.0, pattern='[0-9]+'))" in config
    there: dict[str, Any] = {}
    exec(
        config.partition("from trl")[0] + "reward = " + config.partition("reward_funcs=")[2].partition(",\n")[0], there
    )
    assert there["reward"](["?"] * 2, ["4", "four"]) == [1.0, 0.0]
    there["reward"].close()


def test_distillation_and_sdft(export: Export, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trl = pytest.importorskip("trl")
    config = export("distillation", left_out="1 of 7 rows cannot be read and are left out")
    assert datasets.load_from_disk(str(tmp_path / "out")).column_names == ["prompt"]
    quick = {"per_device_train_batch_size": 2, "max_completion_length": 8}
    run_config(config, model, tmp_path, monkeypatch, trl, "DistillationConfig", **quick)
    config = export("sdft", "--force", left_out="1 rows left out: 1 no reference")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows[0] == {
        "prompt": [{"role": "user", "content": SUMS[0]["question"]}],
        "privileged_context": SUMS[0]["answer"],
    }
    sdft = pytest.importorskip("trl.experimental.sdft")
    run_config(config, model, tmp_path, monkeypatch, sdft, "SDFTConfig", num_generations=2, **quick)


def test_dpo_is_what_trl_is_for_pairs(here: Here, tmp_path: Path) -> None:
    """`tests/synth/exports/test_trainers.py` trains on them."""
    pairs = written(tmp_path / "pairs.jsonl", [{"prompt": "2 + 2?", "chosen": "It is 4.", "rejected": "It is 5."}])
    printed = [
        here("export", pairs, "--for", name, "-o", tmp_path / "out", "--force").stdout for name in ("dpo", "trl")
    ]
    assert printed[0] == printed[1] and "DPOTrainer(" in printed[0]
    [row] = datasets.load_from_disk(str(tmp_path / "out"))
    assert row["prompt"] == [{"role": "user", "content": "2 + 2?"}] and set(row) == {"prompt", "chosen", "rejected"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--for", "grpo"], "--verifier is missing"),
        (["--for", "grpo", "--verifier", "judge"], "--verifier judge asks a model"),
        (["--for", "verl", "--verifier", "majority"], "verl rewards them one by one"),
        (["--for", "sdft", "--verifier", "math"], "--verifier rewards answers, and sdft takes demonstrations"),
        (["--for", "dpo"], "dpo takes no messages data; it takes preference"),
        (["--for", "verl", "--as", "tasks", "--verifier", "math"], "verl takes no tasks data; it takes verl"),
        (["--verifier", "math"], "--verifier rewards answers to tasks: name the --for"),
        (["--for", "grpo", "--verifier", "maths"], "did you mean math"),
        (["--for", "grpo", "--verifier", "none"], "--verifier none judges nothing"),
        (["--for", "grpo", "--verifier", "choice"], "none of its 6 rows can be written as tasks: "),
        (["--for", "prime-rl", "--verifier", "choice"], "none of its 6 rows can be written as tasks: "),
    ],
)
def test_what_cannot_be_rewarded_is_refused(
    here: Here, sums: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    plain = written(
        tmp_path / "plain.jsonl", [{"prompt": row["question"], "completion": row["answer"]} for row in SUMS + BAD]
    )
    done = here("export", plain, *options, "-o", tmp_path / "out")
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_no_task_is_left_out(export: Export, tmp_path: Path) -> None:
    """None of these trainers is told of the functions that a row offers; and something has to be asked."""
    tools = json.dumps([{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}])
    said = [[("user", "2 + 2?"), ("assistant", "4")], [("user", "3 + 3?")], [("system", "Be brief.")]]
    rows = [
        {
            "messages": [{"role": role, "content": text} for role, text in turns],
            "reference": "4",
            "verifier": "number",
            "tools": tools if number == 1 else None,
        }
        for number, turns in enumerate(said)
    ]
    source = written(tmp_path / "rows.jsonl", [row | {"image": "a.png"} for row in rows])
    left = "2 rows left out: 1 tools, which these trainers do not offer, 1 no prompt"
    export("grpo", source=source, left_out=f"left behind: image, which trainers would take for something else\n{left}")
    [row] = datasets.load_from_disk(str(tmp_path / "out"))
    assert row["prompt"] == [{"role": "user", "content": "2 + 2?"}] and "image" not in row


def test_verl(export: Export, tmp_path: Path) -> None:
    """The columns of its documentation; the reward is loaded from the file, and called, as verl 0.9.1 does."""
    config = export("verl", "--verifier", "number")
    data, reward = tmp_path / "out" / "data.parquet", tmp_path / "out" / "reward.py"
    assert f"data.train_files={data}" in config and f"reward.custom_reward_function.path={reward}" in config
    rows = pandas.read_parquet(data).to_dict("records")
    assert list(rows[0]) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert rows[0]["prompt"].tolist() == [{"role": "user", "content": "What is 1 + 2?"}]
    assert rows[0]["reward_model"] == {"style": "rule", "ground_truth": "1 + 2 = 3. The answer is 3."}
    compute_score = runpy.run_path(str(reward))["compute_score"]

    async def score(row: dict[str, Any], answer: str) -> float:
        judged: dict[str, float] = await compute_score(
            data_source=row["data_source"],
            solution_str=answer,
            ground_truth=row["reward_model"]["ground_truth"],
            extra_info=row["extra_info"],
        )
        return judged["score"]

    assert asyncio.run(score(rows[0], "It is 3.")) == 1.0
    assert asyncio.run(score(rows[1], "It is 3.")) == 0.0


def test_openrlhf(export: Export, tmp_path: Path) -> None:
    """The columns that its `PromptDataset` reads, by the keys of the configuration."""
    config = export("openrlhf", "--verifier", "number", "--time-limit", "3").split()
    keys = {name: config[config.index(f"--data.{name}") + 1] for name in ("prompt_dataset", "input_key", "label_key")}
    rows = datasets.load_dataset(
        "json", data_files=keys["prompt_dataset"], split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows[keys["input_key"]][0] == [{"role": "user", "content": "What is 1 + 2?"}]
    labels = rows[keys["label_key"]][:2]
    assert json.loads(labels[0]) == {"reference": SUMS[0]["answer"], "verifier": "number", "level": 1}
    reward_func = runpy.run_path(config[config.index("--reward.remote_url") + 1])["reward_func"]
    prompts = ["<user>1 + 2?<bot>", "<user>3 + 4?<bot>"]
    found = reward_func([f"{prompt}It is 3." for prompt in prompts], prompts, labels)
    assert found["rewards"].tolist() == found["scores"].tolist() == [1.0, 0.0]


def test_prime_rl(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that verifiers loads by the name in the configuration; it rewards what a trace holds."""
    rows = [
        {"prompt": "What is 1 + 2?", "reference": "3", "verifier": "number", "name": 7, "level": 1},
        {"prompt": "Say yes.", "reference": "Yes", "verifier": "exact", "name": 8, "level": 2},
    ]
    out = tmp_path / "my-sums 2"
    done = here("export", written(tmp_path / "rows.jsonl", rows), "--for", "prime-rl", "-o", out)
    assert done.returncode == 0, done.stderr
    [env] = tomllib.loads(done.stdout)["orchestrator"]["train"]["env"]
    project = tomllib.loads((out / "pyproject.toml").read_text())
    assert env["taskset"]["id"] == project["project"]["name"] == "my-sums-2"
    assert project["tool"]["setuptools"]["packages"] == ["my_sums_2"]
    assert project["project"]["dependencies"] == ["verifiers>=0.4"], "an index may have another project called synth"
    assert len((out / "my_sums_2" / "data.jsonl").read_text().splitlines()) == 2
    compile((out / "my_sums_2" / "taskset.py").read_text(), "taskset.py", "exec")
    vf = pytest.importorskip("verifiers.v1")
    loaders = pytest.importorskip("verifiers.v1.utils.loaders")
    monkeypatch.syspath_prepend(str(out))
    tasks = list(loaders.load_taskset(vf.TasksetConfig(id=env["taskset"]["id"])))

    async def rewards(task: Any, answer: str) -> list[float]:
        asked = vf.MessageNode(message=vf.UserMessage(content=task.data.prompt_text))
        said = vf.MessageNode(parent=0, message=vf.AssistantMessage(content=answer), sampled=True)
        recorded = {"type": "SynthTask", "data": task.data.model_dump()}
        trace = vf.Trace(task=recorded, agent={"config": {}}, nodes=[asked, said])
        await task.score(trace)
        return [reward.value for reward in trace.rewards.values()]

    assert [asyncio.run(rewards(task, "It is 3.")) for task in tasks] == [[1.0], [0.0]]
    assert asyncio.run(rewards(tasks[1], "yes")) == [1.0]


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("gsm8k-tasks", "gsm8k_tasks"),
        ("import", "tasks_import"),
        ("json", "tasks_json"),
        ("verifiers", "tasks_verifiers"),
        ("7 sums", "tasks_7_sums"),
        ("…", "tasks"),
    ],
)
def test_a_package_hides_no_other(output: str, name: str) -> None:
    assert package(output) == name


def test_from_python(tmp_path: Path) -> None:
    """A path with a space is one word of the command that is printed."""
    place = tmp_path / "for OpenRLHF"
    done = synth.export(SUMS + BAD[2:], place, trainer="openrlhf", verifier="math", progress=synth.SILENT)
    assert (len(done), done.form, done.left_out, done.reasons) == (4, "openrlhf", 1, {"no reference": 1})
    assert shlex.split(done.config)[-4:-2] == ["--reward.remote_url", str(place / "reward.py")]
    demonstrations = synth.export(SUMS, tmp_path / "d.jsonl", trainer="jsonl", form="demonstrations")
    assert len(demonstrations) == 4 and demonstrations[0]["privileged_context"] == SUMS[0]["answer"]


@pytest.mark.parametrize(("place", "said"), [("./out", "out"), ("t/", "t")])
def test_the_configuration_is_whole_wherever_the_output_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    """However short a path is, and however it is written."""
    monkeypatch.chdir(tmp_path)
    config = synth.export(SUMS, place, trainer="distillation", progress=synth.SILENT).config
    compile(config, "config", "exec")
    assert f"load_from_disk({said!r})" in config and 'output_dir="tuned"' in config


def test_a_function_that_no_trainer_could_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(synth.UsageError, match="grpo has to import it; put it at the top of a file"):
        synth.export(SUMS, tmp_path / "out", trainer="grpo", verifier=lambda response, reference: True)
    assert not (tmp_path / "out").exists()


def test_a_directory_of_others_is_not_written_into(here: Here, sums: Path, tmp_path: Path) -> None:
    """A reward of the user's stays, unless it is said that it may go."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "reward.py").write_text("mine")
    export = partial(here, "export", sums, "--for", "verl", "--verifier", "number", "-o", tmp_path / "mine")
    refused = export()
    assert refused.returncode == 2 and "add --force to write into it" in refused.stderr
    assert (tmp_path / "mine" / "reward.py").read_text() == "mine"
    assert export("--force").returncode == 0 and "number_verl" in (tmp_path / "mine" / "reward.py").read_text()
