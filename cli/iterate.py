"""`synth iterate`."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cli.command import Call, command_of, told
from cli.help import GROUPS, Command
from cli.options import Argument, Option
from cli.standard import claimed_stdout


class Iterating(Command):
    """Has options of several steps, in groups."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "Rounds": ("tasks", "rounds", "patience", "keep", "keep_models", "seed", "dry_run"),
        "Answers": ("samples", "select", "fallback", "temperature", "top_p", "max_tokens"),
        "Replay": ("replay", "replay_rows", "replay_loss", "earlier", "earlier_share"),
        "Training": ("steps", "epochs", "learning_rate", "tokens_per_batch", "lora", "train_args"),
        "Evaluation": ("suites", "new_suites", "eval_limit", "eval_tokens"),
        **GROUPS,
    }


@command_of(
    "synth.api.iterate:iterate",
    source=Argument("[TASK]", required=False),
    tasks=Option(metavar="TASK,TASK,…", listed=True),
    output=Option(("-o", "--output"), metavar="FOLDER", help="Where rounds, models and scores go."),
    suites=Option(("--eval",), metavar="SUITE"),
    new_suites=Option(("--new",), metavar="SUITE"),
    select=Option(metavar="WAY"),
    fallback=Option(metavar="LIST", listed=True),
    replay=Option(metavar="SET"),
    learning_rate=Option(("--lr", "--learning-rate")),
    tokens_per_batch=Option(("--batch-tokens", "--tokens-per-batch")),
    lora=Option(metavar="RANK"),
    train_args=Option(("--train-arg",)),
    kind=Iterating,
)
def command(call: Call) -> None:
    """Rounds in which a model answers tasks, is trained on its right answers, and is measured.

    Samples of the first model alone are not enough: those of each round's own model close the gap (arXiv 2510.18874).
    A round is taken if its model is better at the new task (--new) than any before; FOLDER/model is the best one. With
    --tasks several tasks are learnt one after the other, and earlier ones are repeated. A killed loop is continued by
    the same command, with the same rounds.

    \b
    Examples:
      synth iterate gsm8k.jsonl --model M --new gsm8k-test.jsonl --dry-run
      synth iterate gsm8k.jsonl --model M --verifier math --rounds 4 --eval old.jsonl --new gsm8k-test.jsonl \\
          --keep 95% -o loop
      synth iterate gsm8k.jsonl --model M --verifier math --new gsm8k-test.jsonl --replay replay --lora 16 \\
          --train-arg gradient_checkpointing=true -o loop
      synth iterate --tasks a.jsonl,b.jsonl,c.jsonl --new a-test.jsonl --new b-test.jsonl --new c-test.jsonl \\
          --eval old.jsonl --model M --fallback gold --earlier-share 10% -o sequence
    """  # noqa: D301 (\b is click's)
    from synth.reports.terminal.plan import print_plan
    from synth.reports.terminal.scores import print_table

    with claimed_stdout():
        found = call()
    if call.given["dry_run"]:
        print_plan(found.plan, told().options)
        return
    for table in found.tables():
        print_table(table)
