"""What `synth filter` prints: the filters that there are, and what each step removed."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from synth.curation.registry import StepKind
from synth.curation.steps import described
from synth.curation.summary import Example, StepSummary
from synth.progress import printable

ABOUT = (
    "Settings are shown with their defaults; an empty one has no bound. Values in capitals come without a name, in "
    "this order. MODEL is a causal language model, whose hidden states are taken, or sentence-transformers:NAME or "
    "model2vec:NAME where that is installed. A function of yours, module:function, takes a polars data frame with the "
    "columns id, row, prompt, answer, text, system, thoughts, calls, roles and those of the set. A filter looks at the "
    "contents of turns, and at thoughts or calls of tools where it says so, or with of=thoughts."
)
WIDTH = 100
SHOWN = 76
"""Characters of a prompt or an answer that are shown."""


def print_list() -> None:
    """Print all filters and ways to choose, with their settings."""
    console = Console(highlight=False)
    titles: dict[StepKind, str] = {"filter": "--filter removes", "keep": "--keep keeps"}
    for kind, title in titles.items():
        lines = [Text(title, "bold"), Text()]
        for one in described(kind):
            lines.append(Text(f"  {one.name}:{one.settings}" if one.settings else f"  {one.name}"))
            lines += [Text(f"      {line}") for line in wrap(one.says, WIDTH - 6)]
        console.print(*lines, Text(), sep="\n", soft_wrap=True)
    console.print(*wrap(ABOUT, WIDTH), sep="\n", markup=False, soft_wrap=True)


def print_steps(steps: Sequence[StepSummary], *, on_stderr: bool) -> None:
    """Print what each step removed, by category, with examples."""
    console = Console(highlight=False, stderr=on_stderr)
    for number, step in enumerate(steps, 1):
        console.print(Text.assemble((f"{number}. {printable(step.text)}", "bold"), f"  {step.share}"), soft_wrap=True)
        for category in step.categories:
            console.print(Text(f"  {category.count:>9,}  {printable(category.name)}"), soft_wrap=True)
            for example in category.examples:
                for line in (*_example(example), *(_example(example.other) if example.other else ())):
                    console.print(Text(" " * 13) + line, soft_wrap=True)
        console.print()


def _example(example: Example) -> Iterator[Text]:
    yield Text(f"row {example.row:,}" + (f": {printable(example.particulars)}" if example.particulars else ""), "dim")
    for name, text, colour in (("prompt", example.prompt, "cyan"), ("answer", example.answer, "green")):
        if text is None:
            shown = Text("(none)", "dim")
        else:
            line = " ".join(text.split())
            shown = Text(printable(line[:SHOWN]) + (" …" if len(line) > SHOWN or len(text) > 4 * SHOWN else ""))
        yield Text.assemble((name, colour), "  ", shown)
