"""`synth eval`."""

import json

import click

from cli.command import Call, command_of
from cli.options import Argument, Option
from cli.standard import claimed_stdout


@command_of(
    "synth.api.evaluate:evaluate",
    click.Option(["--json", "as_json"], is_flag=True, help="Print the scores as JSON."),
    suites=Argument("[SUITE]...", required=False),
    models=Option(
        ("--model",),
        metavar="[NAME=]MODEL",
        help="A model; further ones are compared with the first, the one before training.",
    ),
    adapter=Option(metavar="[NAME=]PATH|ID"),
    new=Option(metavar="SUITE"),
    output=Option(
        ("-o", "--output"),
        metavar="DIR",
        help="Where answers, scores.json and plots go. [default: a table is printed]",
    ),
    texts=Option(("--text",), metavar="[NAME=]FILE"),
    lm_eval=Option(metavar="TASKS", listed=True),
    sweep=Option(metavar="RATIOS", once=True),
)
def command(call: Call, as_json: bool) -> None:
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
      synth eval old/*.jsonl --new task.jsonl --model BASE --adapter tuned/adapter -o scores
      synth eval dev/*.jsonl --new task-dev.jsonl --model BASE --model TUNED --sweep 0.2,0.4,0.6,0.8 -o swept
      synth eval old/*.jsonl --new task.jsonl --model HYBRID --model TUNED --mode thinking --max-tokens 8192 -o scores
      synth eval questions.jsonl --verifier choice --model M --json | jq .models[0].old
      synth eval --lm-eval arc_easy,hellaswag --model BASE --model TUNED
    """  # noqa: D301 (\b is click's)
    from synth.reports.terminal.scores import print_scores

    with claimed_stdout():
        scores = call().scores
    if as_json:
        shown = {name: found for name, found in scores.items() if name != "command_line"}
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_scores(scores)
