"""Thoughts, calls of tools and template arguments, exported and read by the trainers themselves."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import transformers

from synth.api.export import export
from synth.data.read import open_rows
from synth.data.row import conversations_of
from tests.synth.exports.test_trainers import TRAINERS, in_axolotl, in_llama_factory

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": None}}}
PARAMETERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a"]}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}]
ASKED = {"role": "user", "content": "2+2?"}
CALLED = {"role": "assistant", "content": "", "reasoning_content": "I add.", "tool_calls": [CALL]}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [ASKED, CALLED, {"role": "tool", "content": "4", "name": "add"}, {"role": "assistant", "content": "Four."}],
    [ASKED, {"role": "assistant", "content": "4", "reasoning_content": "A sum."}],
    [ASKED, {"role": "assistant", "content": "4"}],
]
ARGUMENTS: list[dict[str, Any]] = [{}, {"enable_thinking": True}, {"enable_thinking": False}]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows as people have them for TRL, but that calls pass JSON text, as OpenAI's do."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"messages": turns, "tools": TOOLS if len(turns) > 2 else None, "chat_template_kwargs": arguments}
        for turns, arguments in zip(CONVERSATIONS, ARGUMENTS, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def thinker(model: str, tmp_path: Path) -> Path:
    """The sample model with the chat template of Qwen3, which writes thoughts and calls."""
    trl = pytest.importorskip("trl")
    folder = tmp_path / "thinker"
    shutil.copytree(model, folder)
    shutil.copy(Path(trl.__file__).parent / "chat_templates/qwen3.jinja", folder / "chat_template.jinja")
    return folder


def as_rendered(thinker: Path, *, arguments: bool) -> list[str]:
    """What the chat template makes of the rows."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(thinker)
    found = []
    for turns, own in zip(CONVERSATIONS, ARGUMENTS, strict=True):
        tools = TOOLS if len(turns) > 2 else None
        text = tokenizer.apply_chat_template(turns, tools=tools, tokenize=False, **(own if arguments else {}))
        found.append(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return found


def test_trl(source: Path, thinker: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    export(source, trainer="trl", output=tmp_path / "out")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert list(rows["messages"]) == CONVERSATIONS, "no nulls, and arguments that are objects"
    assert list(rows["tools"]) == [TOOLS, None, None]
    assert list(rows["chat_template_kwargs"]) == ARGUMENTS
    settings = trl.SFTConfig(output_dir=str(tmp_path / "tuned"), report_to=[], use_cpu=True, max_length=None)
    trainer = trl.SFTTrainer(str(thinker), args=settings, train_dataset=rows)
    tokenizer = transformers.AutoTokenizer.from_pretrained(thinker)
    seen = [tokenizer.decode(ids) for ids in trainer.train_dataset["input_ids"]]
    assert seen == as_rendered(thinker, arguments=True)
    assert "I add." in seen[0] and '"b": null' in seen[0] and "A sum." in seen[1]


def test_axolotl(source: Path, thinker: Path, tmp_path: Path) -> None:
    if not (TRAINERS / "axolotl").is_dir():
        pytest.skip("axolotl is not installed: tests/run.sh does it")
    config = export(source, trainer="axolotl", output=tmp_path / "out").config.replace("MODEL", str(thinker))
    (tmp_path / "axolotl.yaml").write_text(config + "sequence_len: 4096\n")
    done = in_axolotl(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    tokenizer = transformers.AutoTokenizer.from_pretrained(thinker)
    seen = sorted(tokenizer.decode(row["input_ids"]) for row in json.loads(done.stdout.splitlines()[-1]))
    meant = [text.replace(', "b": null', "") for text in as_rendered(thinker, arguments=False)]
    assert seen == sorted(meant), "axolotl leaves nulls out"


def test_llama_factory(source: Path, tmp_path: Path) -> None:
    export(source, trainer="llama-factory", output=tmp_path / "out")
    rows = in_llama_factory(tmp_path / "out", "messages")
    calls = '[{"name": "add", "arguments": {"a": 2, "b": null}}]'
    call = {"role": "function", "content": f"<think>\nI add.\n</think>\n\n{calls}"}
    assert rows[0]["_prompt"] == [ASKED, call, {"role": "observation", "content": "4"}]
    assert json.loads(rows[0]["_tools"]) == TOOLS
    assert rows[1]["_response"] == [{"role": "assistant", "content": "<think>\nA sum.\n</think>\n\n4"}]
    assert rows[2]["_response"] == [{"role": "assistant", "content": "4"}] and not rows[2]["_tools"]


def test_ms_swift_takes_a_turn_for_each_call(tmp_path: Path) -> None:
    """As its documentation has agents' data: text, parallel calls and their results are turns one after the other."""
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    other = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 7}}}
    results = [{"role": "tool", "content": text, "name": "add"} for text in ("4", "8")]
    turns = [ASKED, CALLED | {"content": "Both:", "tool_calls": [CALL, other]}, *results, CONVERSATIONS[1][1]]
    path.write_text(json.dumps({"messages": turns, "tools": TOOLS}) + "\n")
    export(path, trainer="ms-swift", output=output)
    [row] = map(json.loads, output.read_text().splitlines())
    assert json.loads(row["tools"]) == TOOLS
    assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [
        ("user", "2+2?"),
        ("assistant", "<think>\nI add.\n</think>\n\nBoth:"),
        ("tool_call", '{"name": "add", "arguments": {"a": 2, "b": null}}'),
        ("tool_call", '{"name": "add", "arguments": {"a": 1, "b": 7}}'),
        ("tool_response", "4"),
        ("tool_response", "8"),
        ("assistant", "<think>\nA sum.\n</think>\n\n4"),
    ]


@pytest.mark.parametrize("trainer", ["trl", "jsonl", "parquet"])
def test_what_is_exported_is_read_again(source: Path, tmp_path: Path, trainer: str) -> None:
    output = tmp_path / {"trl": "out", "jsonl": "out.jsonl", "parquet": "out.parquet"}[trainer]
    export(source, trainer=trainer, output=output)
    before, after = (list(map(_rows, open_rows(str(path)).batches())) for path in (source, output))
    assert before == after and len(before[0]) == 3


def test_pairs_with_thoughts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    worse = {"role": "assistant", "content": "<think>\nOdd.\n</think>\n\n5"}
    sides = {"chosen": CONVERSATIONS[1][1:], "rejected": [worse]}
    path.write_text(json.dumps({"prompt": [ASKED], **sides, "tools": TOOLS}) + "\n")
    export(path, trainer="trl", output=tmp_path / "out")
    [row] = datasets.load_from_disk(str(tmp_path / "out"))
    wrong = {"role": "assistant", "content": "5", "reasoning_content": "Odd."}
    assert row == {"prompt": [ASKED], "chosen": sides["chosen"], "rejected": [wrong], "tools": TOOLS}


def test_what_a_trainer_loses_is_said(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = export(source, trainer="torchtune", output=tmp_path / "out.jsonl")
    said = capsys.readouterr().err
    assert len(done) == 2 and "1 rows left out" in said and "takes no tools" in said
    export(source, trainer="jsonl", output=tmp_path / "all.jsonl")
    assert "exact everywhere" not in capsys.readouterr().err


def _rows(batch: Any) -> list[Any]:
    kept = [batch[name].to_pylist() for name in ("tools", "template_args")]
    return list(zip(conversations_of(batch["messages"]), *kept, strict=True))
