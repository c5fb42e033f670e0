"""`synth template`: what a model is fed, as derived from its chat template."""

import json
import unicodedata
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from cli.help import Command
from cli.options import MODEL, PREFIX, STOP, TRUST

if TYPE_CHECKING:
    from rich.text import Text

    from synth.chat.format import ChatFormat
    from synth.data.row import Message

_EXAMPLE = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "And 3 + 3?"},
    {"role": "assistant", "content": "It is 6."},
]


@click.command(cls=Command)
@MODEL
@TRUST
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead (keys below).")
@click.option("--system", metavar="TEXT", help="Show what precedes a question after this system message.")
@PREFIX
@STOP
def command(model: str, as_json: bool, system: str | None, prefix: str | None, stop: str | None) -> None:
    """Show what is derived from a model's chat template, to the character and the token.

    What precedes a question (there Magpie samples), what ends a question and an answer, what asks for an answer,
    and which tokens of a conversation are trained on. Needs the tokenizer only, not the weights.

    \b
    Keys of --json:
      model            as given
      prefix           text before a question       prefix_ids  its token ids
      pending          white space at the end of prefix that is not in prefix_ids: the
                       tokenizer joins it to the first word, so the model draws it
      stop             texts that end a question    stop_ids    those that are tokens
      answer_prompt    text between a question and its answer
      answer_stop      texts that end an answer     answer_stop_ids  those that are tokens
      second_prefix    text between an answer and the next question; null: one turn only
      system           taken: whether there is a system role; default: the template's own
      spans            an example: messages, text, tokens (id, text, trained), and the
                       [start, end) tokens of each assistant turn

    \b
    Examples:
      synth template --model samples/model
      synth template --model Qwen/Qwen2.5-7B-Instruct --json | jq -r .prefix
      synth template --model BASE --prefix "Question: " --stop $'\\nAnswer: '
    """  # noqa: D301 (\b is click's)
    from synth.chat.format import format_for

    chat = format_for(model, prefix=prefix, stop=stop)
    found = {"model": model, **describe(chat, system)}
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _print(found)


def describe(chat: "ChatFormat", system: str | None = None) -> dict[str, Any]:
    """The keys of --json, but for `model`.

    Raises:
        UsageError: the template takes no system message.
    """
    opening: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    prompt = chat.user_prompt(opening)
    example = opening + _EXAMPLE[: 4 if chat.turns.second is not None else 2]
    encoded = chat.encode(example)
    # A token's text reaches from the end of the one before it, so that together they are the whole text.
    ends = [0, *(end for _, end in encoded.offsets)]
    tokens = [
        {"id": number, "text": encoded.text[start:end], "trained": trained}
        for number, start, end, trained in zip(encoded.input_ids, ends[:-1], ends[1:], encoded.trained, strict=True)
    ]
    return {
        "prefix": prompt.text,
        "prefix_ids": list(prompt.ids),
        "pending": prompt.pending,
        "stop": [*chat.stop, *_texts(chat, chat.stop_ids)],
        "stop_ids": list(chat.stop_ids),
        "answer_prompt": chat.turns.opened,
        "answer_stop": [*chat.answer_stop, *_texts(chat, chat.answer_stop_ids)],
        "answer_stop_ids": list(chat.answer_stop_ids),
        "second_prefix": chat.turns.second,
        "system": {"taken": chat.turns.system is not None, "default": chat.turns.default_system},
        "spans": {"messages": example, "text": encoded.text, "tokens": tokens, "spans": encoded.spans},
    }


def _texts(chat: "ChatFormat", ids: tuple[int, ...]) -> list[str]:
    """The texts of token ids; a model's config may name ids that its tokenizer lacks."""
    texts = chat.tokenizer.convert_ids_to_tokens(ids)
    return [text or f"token {number}" for number, text in zip(ids, texts, strict=True)]


def _print(found: dict[str, Any]) -> None:
    """The same for people: every white space seen, trained tokens marked."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("before a question", _shown(found["prefix"]))
    table.add_row("  token ids", " ".join(map(str, found["prefix_ids"])))
    if found["pending"]:
        left = _shown(found["pending"]).append("  in no token above: the model draws it with its first word", "dim")
        table.add_row("  left to the model", left)
    table.add_row("ends a question", Text("  ").join(map(_shown, found["stop"])))
    table.add_row("asks for an answer", _shown(found["answer_prompt"]))
    table.add_row("ends an answer", Text("  ").join(map(_shown, found["answer_stop"])))
    second = found["second_prefix"]
    table.add_row("before the next question", Text("one turn only") if second is None else _shown(second))
    table.add_row("system message", _system(found["system"]))
    example = Text()
    for trained, run in groupby(found["spans"]["tokens"], key=itemgetter("trained")):
        example.append(visible("".join(token["text"] for token in run)), "bold green" if trained else "")
    example.rstrip()
    table.add_row("an example", example)
    start_end = ", ".join(f"{start}-{end - 1}" for start, end in found["spans"]["spans"])
    table.add_row("  trained on", f"tokens {start_end} of {len(found['spans']['tokens'])}")
    for start, end in found["spans"]["spans"]:
        turn = "".join(token["text"] for token in found["spans"]["tokens"][start:end])
        table.add_row("", Text(visible(turn), "bold green"))
    console = Console(highlight=False)
    console.print(Text(f"{found['model']}   (· space, ↵ line break, → tab)\n", "dim"), soft_wrap=True)
    console.print(table)


def _system(system: dict[str, Any]) -> "Text":
    from rich.text import Text

    if not system["taken"]:
        return Text("not taken by this template")
    if system["default"] is None:
        return Text("taken; none by default")
    return Text("taken; by default: ").append(_shown(system["default"]))


def _shown(text: str) -> "Text":
    from rich.text import Text

    return Text(visible(text).removesuffix("\n"), "cyan")


def visible(text: str) -> str:
    """A text with every white space and invisible character made visible; lines still break."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in " \n\t":
        return {" ": "·", "\n": "↵\n", "\t": "→"}[character]
    if unicodedata.category(character) in {"Cc", "Cf", "Co", "Zs", "Zl", "Zp"}:
        return f"<U+{ord(character):04X}>"
    return character
