"""`synth eval`."""

import json
from typing import Any

import click

from cli.call import arguments, claimed_stdout
from cli.help import Command
from cli.options import (
    PREFIX,
    ROWS,
    SEEDS,
    STOP,
    TOKENS,
    Number,
    Share,
    directory_for,
    engine_options,
    verifier_options,
)


def _ratios(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """The ratios of --sweep."""
    from synth.evaluation.sweep import check_ratios

    try:
        return None if text is None else check_ratios([float(part) for part in text.split(",")])
    except ValueError:
        raise click.BadParameter(f"{text!r}: ratios lie between 0 and 1, as in 0.2,0.4,0.6,0.8") from None


@click.command(cls=Command)
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option("--new", multiple=True, metavar="SUITE", help="A suite of the new task, listed apart.")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="[NAME=]MODEL",
    help="A model; further ones are compared with the first, the one before training.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    callback=directory_for("an evaluation"),
    help="Where answers, scores.json and plots go. [default: a table is printed]",
)
@click.option("--limit", type=ROWS, help="Take so many items of each suite.")
@click.option("--max-tokens", type=TOKENS, default=1024, show_default=True, help="Most tokens of an answer.")
@click.option("--temperature", type=Number(), default=0.0, show_default=True, help="0 is greedy: the likeliest answer.")
@click.option(
    "--mode",
    metavar="thinking|plain|both",
    help="How models that think are asked. [default: both, where they have both]",
)
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@click.option("--text", "texts", multiple=True, metavar="[NAME=]FILE", help="Also the perplexity of these texts.")
@click.option("--text-column", metavar="NAME", help="Where --text FILE has plain texts, not conversations.")
@click.option(
    "--kl", is_flag=True, help="Also the KL divergence of each model from the first, on the new suites' prompts."
)
@click.option("--lm-eval", metavar="TASKS", help="Also run these tasks of lm-eval, if it is installed.")
@click.option(
    "--sweep",
    metavar="RATIOS",
    callback=_ratios,
    help="Also merge the first and the second model at these ratios: 0.2,0.4,0.6,0.8.",
)
@click.option(
    "--keep",
    type=Share(),
    default="95%",
    show_default=True,
    help="With --sweep: take the best at the new task of those that keep this much of the old.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
@verifier_options
@PREFIX
@STOP
@engine_options
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output.")
@click.option("--quiet", is_flag=True, help="Print the table only.")
def command(**given: Any) -> None:
    """Measure what models can do, and what they kept: right answers, suite by suite and item by item.

    A SUITE is a file of prompts, references and, in a column or by --verifier, what judges the answers; files of GSM8K,
    MATH, MBPP, HumanEval, BFCL, IFEval, MMLU, MMLU-Pro, GPQA, ARC, OpenBookQA, HellaSwag, XSTest and AdvBench are read
    as they are published. Its name is the file's, or the benchmark's or folder's where that is a split such as test;
    NAME=FILE gives it another. Accuracies have 95% intervals; with a second model, each cell says how many items went
    wrong (↓) and how many came right (↑), and the last lines what was kept of the old average. Models with a switch for
    thinking are asked in both modes; obeying the switch counts as an old ability.

    \b
    Examples:
      synth eval gsm8k/test.jsonl HumanEval.jsonl --model M --limit 200
      synth eval old/*.jsonl --new task.jsonl --model BASE --model TUNED -o scores
      synth eval old/*.jsonl --new task.jsonl --model BASE --model TUNED --kl --text human=h.jsonl
      synth eval dev/*.jsonl --new task-dev.jsonl --model BASE --model TUNED --sweep 0.2,0.4,0.6,0.8 -o swept
      synth eval old/*.jsonl --new task.jsonl --model HYBRID --model TUNED --mode thinking --max-tokens 8192 -o scores
      synth eval questions.jsonl --verifier choice --model M --json | jq .models[0].old
      synth eval --lm-eval arc_easy,hellaswag --model BASE --model TUNED
    """  # noqa: D301 (\b is click's)
    from cli.score_table import score_table
    from synth.api.evaluate import evaluate

    output, as_json = given.pop("output"), given.pop("as_json")
    tasks = () if given["lm_eval"] is None else given["lm_eval"].split(",")
    with arguments(given | {"lm_eval": tasks}) as call, claimed_stdout():
        scores = evaluate(**call, output=output).scores
    if as_json:
        shown = {name: found for name, found in scores.items() if name != "command_line"}
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        score_table(scores)
