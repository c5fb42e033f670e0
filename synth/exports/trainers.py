"""What each trainer loads, and the configuration with which it loads the data.

TRL        a dataset directory (`load_from_disk`); `labels` are used as they are
axolotl    a dataset directory; tokens must be exactly input_ids, attention_mask, labels
           (its documentation, dataset formats, pre-tokenized)
LLaMA-Factory   tokens: a dataset directory as `tokenized_path`; conversations: data.jsonl with a dataset_info.json
ms-swift   JSON lines of messages; it tokenises itself, so it takes no masks (its documentation, custom datasets and
           agent support)
torchtune  likewise
grpo, dpo, distillation, sdft, prime-rl, openrlhf, verl   tasks, or pairs (`synth.exports.task_trainers`)
jsonl, parquet   one file for any other trainer
module:function  a function of the user's, from (rows, path, model) to the configuration that loads them

Thoughts, calls and tools come as `Trainer.style` says; what a trainer then makes of them was seen with TRL 1.16,
axolotl 0.19 and LLaMA-Factory 0.9.5. Tokens with labels are exact with every trainer that takes them.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from filters.names import OWN, ImportPathError, function_at, is_import_path, near_or_all
from synth.errors import UsageError
from synth.exports import task_trainers
from synth.exports.formats import FORMATS, SHAREGPT_ROLES, Exported, Format
from synth.exports.parts import CALL_ROLE, Style
from synth.exports.task_trainers import package
from synth.exports.tasks import KINDS

NAMED_IN_CONFIG = "MODEL"
"""Placeholder for the model where the rows do not name it."""

DATA, LISTING = "data.jsonl", "dataset_info.json"
"""The files of a directory of conversations for LLaMA-Factory, which takes a description of them beside the data."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer that rows can be exported for.

    Attributes:
        forms: the formats of rows that it takes, the first of them where the rows allow it.
        suffix: what the output's name ends in; empty for a directory, None for any.
        attention: whether it wants an attention mask beside tokens.
        config: makes the configuration, from what was exported, where it is and the model's name.
        any_format: whether it loads rows of any columns, so that a user's own format does for it, too.
        style: how it takes the parts of turns.
        data: the file of rows that are no tokens, in a directory with others; "{package}" is a name that Python can
            import. Empty where the output is nothing but the rows.
        files: makes the texts of these others, by name, from what was exported and the output's name.
        one_by_one: whether it rewards answers one by one, so that they cannot be compared with each other.
        losses: what it does not keep of thoughts, calls and tools, for people; empty for any other trainer.
    """

    forms: tuple[str, ...]
    suffix: str | None
    attention: bool
    config: Callable[[Exported, Path, str], str]
    any_format: bool = False
    style: Style = "fields"
    losses: str = ""
    data: str = ""
    files: Callable[[Exported, str], Mapping[str, str]] | None = None
    one_by_one: bool = False


OwnTrainer = Callable[[Exported, Path, str], str]
"""A user's trainer: from what was exported, where it is and the model's name, the configuration that loads it."""


def trainer_of(trainer: str | OwnTrainer) -> tuple[str, Trainer]:
    """A trainer by its name in `TRAINERS`, or a user's function, perhaps by `module:function`; and its name.

    Raises:
        UsageError: there is none.
    """
    if not isinstance(trainer, str):
        return _own(getattr(trainer, "__name__", type(trainer).__name__), trainer)
    if trainer in TRAINERS:
        return trainer, TRAINERS[trainer]
    if not is_import_path(trainer):
        raise UsageError(f"`trainer` {trainer}: no such trainer{near_or_all(trainer, [*TRAINERS, OWN])}")
    try:
        return _own(trainer, function_at(trainer))
    except ImportPathError as error:
        raise UsageError(f"`trainer` {error}") from error


def _own(name: str, function: OwnTrainer) -> tuple[str, Trainer]:
    """A user's trainer, which takes whatever it is given: any format, in any kind of file."""
    try:
        inspect.signature(function).bind("rows", "path", "model")
    except (TypeError, ValueError) as error:
        raise UsageError(f"`trainer` {name} cannot be called with (rows, path, model): {error}") from error

    def config(rows: Exported, path: Path, model: str) -> str:
        try:
            made = function(rows, path, model)
        except Exception as error:  # a user's code may raise anything
            raise UsageError(f"`trainer` {name} failed: {type(error).__name__}: {error}; {path} is written") from error
        if not isinstance(made, str):
            raise UsageError(f"`trainer` {name} returned {made!r:.200}, which is no text; {path} is written")
        return made

    return name, Trainer(tuple(FORMATS), None, False, config, True)


def check(name: str, trainer: Trainer, format: Format, *, chosen: bool) -> None:
    """Refuse a format that a trainer does not take.

    Args:
        name: the trainer's.
        trainer: the trainer.
        format: the rows' format.
        chosen: whether the user named the format.

    Raises:
        UsageError: it does not take that format.
    """
    takes = trainer.forms
    if format.name in takes or (format.name not in FORMATS and trainer.any_format):
        return
    if format.of == "tokens" and not chosen:
        raise UsageError(
            f"{name} tokenises conversations itself and takes no labels: masks would be lost. Add `form` messages if "
            "that is all right, or export for a trainer that takes tokens"
        )
    raise UsageError(f"{name} takes no {format.name} data; it takes {', '.join(takes)}")


def gives_data_set(trainer: str | OwnTrainer, form: object) -> bool:
    """Whether what a trainer loads, in that format, is a dataset directory.

    Raises:
        UsageError: there is no such trainer.
    """
    _, loads = trainer_of(trainer)
    return not loads.suffix and (not loads.data or form == "tokens")


def data_path(trainer: Trainer, format: Format, output: Path) -> Path:
    """The file or directory of the data itself."""
    if not trainer.data or format.of == "tokens":
        return output
    return output / trainer.data.format(package=package(output.name))


def _trl(rows: Exported, path: Path, model: str) -> str:
    trainer, config = ("DPOTrainer", "DPOConfig") if rows.format.of == "pairs" else ("SFTTrainer", "SFTConfig")
    note = f"  # the longest row has {rows.longest:,} tokens; the default cuts at 1,024" if rows.longest else ""
    loss = ", completion_only_loss=True" if rows.form == "prompt-completion" else ""
    return f"""\
from datasets import load_from_disk
from trl import {config}, {trainer}

trainer = {trainer}(
    model={model!r},
    args={config}(output_dir="tuned", max_length=None{loss}),{note}
    train_dataset=load_from_disk({str(path)!r}),
)
trainer.train()
"""


def _axolotl(rows: Exported, path: Path, model: str) -> str:
    if rows.format.of == "tokens":
        kind = "    type:  # empty: the rows are tokens already\n"
    else:
        kind = "    type: chat_template\n    field_messages: messages\n    roles_to_train: [assistant]\n"
    length = f"sequence_len: {rows.longest}  # the longest row\n" if rows.longest else ""
    return f"base_model: {_yaml(model)}\ndatasets:\n  - path: {_yaml(path)}\n{kind}{length}"


def _llama_factory(rows: Exported, path: Path, model: str) -> str:
    if rows.format.of == "tokens":
        data = f"tokenized_path: {_yaml(path)}\ncutoff_len: {rows.longest}  # the longest row\n"
    else:
        data = f"dataset_dir: {_yaml(path)}\ndataset: synth\n"
    return f"model_name_or_path: {_yaml(model)}\nstage: sft\ndo_train: true\n{data}"


def _ms_swift(rows: Exported, path: Path, model: str) -> str:
    return f"swift sft --model {quote(model)} --dataset {quote(str(path))}\n"


def _torchtune(rows: Exported, path: Path, model: str) -> str:
    column, style = ("messages", "openai") if rows.form == "messages" else ("conversations", "sharegpt")
    return f"""\
# the model's own tokenizer and chat template: {model}
dataset:
  _component_: torchtune.datasets.chat_dataset
  source: json
  data_files: {_yaml(path)}
  split: train
  conversation_column: {column}
  conversation_style: {style}
  train_on_input: False
"""


def _yaml(text: object) -> str:
    """A text as a value of YAML: in quotes unless it is a plain path, which nothing else can be taken for."""
    return str(text) if re.fullmatch(r"[\w.-]*(/[\w.-]+)+", str(text)) else json.dumps(str(text), ensure_ascii=False)


def _plain(rows: Exported, path: Path, model: str) -> str:
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return f'datasets.load_dataset("{kind}", data_files={str(path)!r}, split="train")  # for {model}\n'


def _llama_factory_files(rows: Exported, name: str) -> Mapping[str, str]:
    info = _dataset_info(rows.form)
    if "tools" in rows.schema.names:
        info["columns"] |= {"tools": "tools"}
    return {LISTING: json.dumps({"synth": info}, indent=2) + "\n"}


def _dataset_info(form: str) -> dict[str, Any]:
    """LLaMA-Factory's description of a file of conversations (its data/README)."""
    if form == "alpaca":
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        return {"file_name": DATA, "columns": columns | {"system": "system", "history": "history"}}
    info: dict[str, Any] = {"file_name": DATA, "formatting": "sharegpt"}
    if form == "sharegpt":
        return info | {"columns": {"messages": "conversations"}}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    tags |= {"system_tag": "system", "observation_tag": next(r for r in SHAREGPT_ROLES if r == "tool")}
    tags |= {"function_tag": CALL_ROLE}
    return info | {"columns": {"messages": "messages"}, "tags": tags}


_CONVERSATIONS = ("messages", "sharegpt", "alpaca")
_PLAIN = ("tokens", "preference", "prompt-completion", *_CONVERSATIONS, *KINDS)

TRAINERS: dict[str, Trainer] = {
    "trl": Trainer(
        ("tokens", "preference", "messages", "prompt-completion"),
        "",
        False,
        _trl,
        True,
        "objects",
        "TRL renders each conversation once, with the chat template: thoughts of earlier turns that the template cuts "
        "are not trained on",
    ),
    "axolotl": Trainer(
        ("tokens", "messages"),
        "",
        True,
        _axolotl,
        style="objects",
        losses="axolotl renders each conversation once, with the chat template: thoughts of earlier turns that the "
        "template cuts are not trained on; what a call passes as null is left out; template arguments are those of its "
        "configuration, for all rows alike",
    ),
    "llama-factory": Trainer(
        ("tokens", *_CONVERSATIONS),
        "",
        True,
        _llama_factory,
        style="text with calls",
        losses="LLaMA-Factory has templates of its own: thoughts are text between <think> and </think>, which is right "
        "where its template has these words; it cuts those of earlier turns, puts empty ones before answers without, "
        "and takes no template arguments of a row",
        data=DATA,
        files=_llama_factory_files,
    ),
    "ms-swift": Trainer(
        ("messages",),
        ".jsonl",
        False,
        _ms_swift,
        style="text with each call",
        losses="ms-swift has templates of its own: thoughts are text between <think> and </think>, which is right "
        "where its template has these words; it takes no template arguments of a row",
    ),
    "torchtune": Trainer(
        ("messages", "sharegpt"),
        ".jsonl",
        False,
        _torchtune,
        style="text",
        losses="torchtune takes text: thoughts are between <think> and </think>; it takes no tools and no template "
        "arguments of a row",
    ),
    "grpo": Trainer(("tasks",), "", False, task_trainers.grpo),
    "dpo": Trainer(("preference",), "", False, _trl, style="objects"),
    "distillation": Trainer(("prompts",), "", False, task_trainers.distillation),
    "sdft": Trainer(("demonstrations",), "", False, task_trainers.sdft),
    "prime-rl": Trainer(
        ("tasks",),
        "",
        False,
        task_trainers.prime_rl,
        data="{package}/data.jsonl",
        files=task_trainers.prime_rl_files,
        one_by_one=True,
    ),
    "openrlhf": Trainer(
        ("openrlhf",),
        "",
        False,
        task_trainers.openrlhf,
        data="data.jsonl",
        files=task_trainers.openrlhf_files,
        one_by_one=True,
    ),
    "verl": Trainer(
        ("verl",), "", False, task_trainers.verl, data="data.parquet", files=task_trainers.verl_files, one_by_one=True
    ),
    "jsonl": Trainer(_PLAIN, ".jsonl", True, _plain, True),
    "parquet": Trainer(_PLAIN, ".parquet", True, _plain, True),
}
