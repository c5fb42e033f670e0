"""`synth template`: prompts and stop texts, as derived from a model's chat template."""

import json
import unicodedata
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, PREFIX, STOP, TRUST, announced

if TYPE_CHECKING:
    from rich.text import Text

    from synth.chat.summary import ChatTemplate, SystemRole


@click.command(cls=Command)
@announced
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
    from synth.api.template import template

    with arguments({"model": model, "prefix": prefix, "stop": stop}) as call:
        derived = template(call["model"], system=system)
    if as_json:
        click.echo(json.dumps(derived.record(), ensure_ascii=False, indent=2))
    else:
        _print(derived)


def _print(template: "ChatTemplate") -> None:
    """The same as text: white space made visible, trained tokens marked."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("before a question", _shown(template.prefix))
    table.add_row("  token ids", " ".join(map(str, template.prefix_ids)))
    if template.pending:
        left = _shown(template.pending).append("  in no token above: the model draws it with its first word", "dim")
        table.add_row("  left to the model", left)
    table.add_row("ends a question", Text("  ").join(map(_shown, template.stop)))
    table.add_row("asks for an answer", _shown(template.answer_prompt))
    table.add_row("ends an answer", Text("  ").join(map(_shown, template.answer_stop)))
    second = template.second_prefix
    table.add_row("before the next question", Text("one turn only") if second is None else _shown(second))
    table.add_row("system message", _system(template.system))
    example = Text()
    for trained, run in groupby(template.example.tokens, key=attrgetter("trained")):
        example.append(visible("".join(token.text for token in run)), "bold green" if trained else "")
    example.rstrip()
    table.add_row("an example", example)
    start_end = ", ".join(f"{start}-{end - 1}" for start, end in template.example.spans)
    table.add_row("  trained on", f"tokens {start_end} of {len(template.example.tokens)}")
    for start, end in template.example.spans:
        turn = "".join(token.text for token in template.example.tokens[start:end])
        table.add_row("", Text(visible(turn), "bold green"))
    console = Console(highlight=False)
    console.print(Text(f"{template.model}   (· space, ↵ line break, → tab)\n", "dim"), soft_wrap=True)
    console.print(table)


def _system(system: "SystemRole") -> "Text":
    from rich.text import Text

    if not system.taken:
        return Text("not taken by this template")
    if system.default is None:
        return Text("taken; none by default")
    return Text("taken; by default: ").append(_shown(system.default))


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
