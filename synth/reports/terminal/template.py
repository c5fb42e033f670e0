"""What `synth template` prints: what a model is fed."""

import json
import unicodedata
from itertools import groupby
from operator import attrgetter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.chat.summary import ChatTemplate, SystemRole


def print_template(template: ChatTemplate) -> None:
    """Print what is derived from a chat template: every white space seen, trained tokens marked."""
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
    if template.thinking is not None:
        table.add_row("opens thoughts", _shown(template.thinking.opener))
        table.add_row("ends thoughts", _shown(template.thinking.closer))
    for mode, args in template.modes.items():
        given = " ".join(f"--template-arg {name}={json.dumps(value)}" for name, value in args.items())
        table.add_row(f"  --mode {mode}", Text(given or "always"))
    if template.variables:
        table.add_row("reads", Text(", ".join(template.variables)))
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


def _system(system: SystemRole) -> Text:
    if not system.taken:
        return Text("not taken by this template")
    if system.default is None:
        return Text("taken; none by default")
    return Text("taken; by default: ").append(_shown(system.default))


def _shown(text: str) -> Text:
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
