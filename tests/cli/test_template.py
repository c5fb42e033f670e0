"""`synth template` on saved tokenizers."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import main
from cli.template import command
from synth.reports.terminal.template import visible
from tests.synth.tokenizers import FAMILIES, small_tokenizer

# As Llama-2's: a space that belongs to the first word, and no token of its own that ends a question.
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
IM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe  kind.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def inst(tmp_path: Path) -> str:
    small_tokenizer(INST).save_pretrained(tmp_path / "inst")
    return str(tmp_path / "inst")


@pytest.fixture
def im(tmp_path: Path) -> str:
    tokenizer = small_tokenizer(IM, ("<|im_start|>", "<|im_end|>"), bos=None, eos="<|im_end|>")
    tokenizer.save_pretrained(tmp_path / "im")
    return str(tmp_path / "im")


@pytest.fixture
def base(tmp_path: Path) -> str:
    small_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(*arguments, "--json"))
    return found


def test_json(inst: str) -> None:
    found = as_json("--model", inst)
    example = found.pop("spans")
    prefix_ids, stop_ids, answer_stop_ids = (found.pop(key) for key in ("prefix_ids", "stop_ids", "answer_stop_ids"))
    assert found == {
        "model": inst,
        "prefix": "<s>[INST] ",
        "pending": " ",
        "stop": ["[/INST]", "</s>", "<s>"],
        "answer_prompt": " [/INST]",  # as the template is rendered to ask; a model draws the space itself
        "answer_stop": ["</s>"],
        "second_prefix": "</s>[INST] ",
        "system": {"taken": True, "default": None},
        "variables": [],
        "thinking": None,
        "modes": {},
    }
    assert len(stop_ids) == 2
    assert len(answer_stop_ids) == 1
    tokens = example["tokens"]
    assert [token["id"] for token in tokens][: len(prefix_ids)] == prefix_ids
    assert "".join(token["text"] for token in tokens) == example["text"]
    turns = ["".join(token["text"] for token in tokens[start:end]) for start, end in example["spans"]]
    assert turns == [" It is 4.</s>", " It is 6.</s>"]
    assert "".join(token["text"] for token in tokens if token["trained"]) == "".join(turns)


def test_default_system_message_and_another(im: str) -> None:
    found = as_json("--model", im)
    assert found["system"] == {"taken": True, "default": "Be  kind."}
    assert found["prefix"] == "<|im_start|>system\nBe  kind.<|im_end|>\n<|im_start|>user\n"
    other = as_json("--model", im, "--system", "Be brief.")
    assert other["prefix"] == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    assert other["spans"]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_people_see_white_space(im: str, inst: str) -> None:
    lines = shown("--model", im).splitlines()
    assert any("Be··kind.<|im_end|>↵" in line for line in lines)
    assert any("left to the model" in line for line in shown("--model", inst).splitlines())
    assert not any("left to the model" in line for line in lines)


def test_square_brackets_are_not_taken_for_markup(inst: str) -> None:
    assert "<s>[INST]·" in shown("--model", inst)
    assert "[/INST]" in shown("--model", inst)


def test_visible() -> None:
    assert visible("a b\n\tc\u200b\u00a0\r") == "a·b↵\n→c<U+200B><U+00A0><U+000D>"
    assert visible("你好 😀") == "你好·😀"


def test_base_model(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["template", "--model", base])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert printed.err.splitlines()[:-1] == ["starting …"]
    assert "--prefix TEXT --stop TEXT" in printed.err

    found = as_json("--model", base, "--prefix", "Question: ", "--stop", "\nAnswer: ")
    assert found["prefix"] == "<s>Question: "
    assert found["stop"][0] == "\nAnswer:"
    assert found["second_prefix"] is None
    assert "one turn only" in shown("--model", base, "--prefix", "Question: ", "--stop", "\nAnswer: ")


@pytest.mark.parametrize("arguments", [["--model", "./gone"], []])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["template", *arguments])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert "--model" in printed.err
    assert "Traceback" not in printed.err


def test_system_message_that_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = IM.replace(
        "{% for m", "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{% for m"
    )
    small_tokenizer(template, ("<|im_start|>", "<|im_end|>"), bos=None, eos="<|im_end|>").save_pretrained(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["template", "--model", str(tmp_path), "--system", "Be kind."])
    assert stop.value.code == 2
    assert "takes no system message" in capsys.readouterr().err


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_published_templates(family: Any, tmp_path: Path) -> None:
    family.tokenizer().save_pretrained(tmp_path)
    assert "before a question" in shown("--model", str(tmp_path))
