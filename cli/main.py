"""`synth`: commands are loaded when they are called, so that `synth --help` needs no model library."""

import atexit
import gc
import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click

from cli import standard
from cli.help import Command

_SURROGATE = re.compile("[\ud800-\udfff]")
"""How Python represents bytes of an argument that are not UTF-8."""

GROUPS = {
    "Replay and the model's own words": {
        "magpie": "A chat model asks itself questions and answers them: replay data from nothing.",
        "sample": "What a model writes from nothing: context-free samples as replay.",
        "self-output": "The model answers tasks itself; its right answers become the data.",
        "paraphrase": "The model restates human answers in its own words.",
        "minimum-change": "The model's own answers, corrected with as few changes as possible.",
        "reason": "Reasoning traces of the model's own: verified, short, searched, valued step by step.",
        "ssr": "New examples of an old task from a few that were kept.",
        "lamol": "A model trained to do so writes examples of its old tasks: pseudo-replay.",
        "refuse": "Safety rehearsal: its own refusals of harmful prompts and answers to harmless ones.",
        "distil": "A stronger model answers prompts, at a cost that is counted and bounded.",
        "rephrase": "Documents restated in other styles, for continued pre-training.",
        "continue": "The model continues passages: chat data without instructions.",
        "describe": "A text model answers about recordings or images that are described in words.",
        "run": "A method of your own, row by row.",
        "join": "One data set from the shards of a run.",
    },
    "Curation": {
        "verify": "Judge answers, or references: right, wrong or unscorable.",
        "score-tokens": "The log-probability of every token under a model; which tokens are trained on.",
        "rate": "Scores for every row, to filter by: quality, complexity, perplexity, reward.",
        "filter": "Remove bad rows, duplicates, benchmark items; keep the best, the longest, a sample.",
    },
    "Training and evaluation": {
        "mix": "A task's rows with a share of replay among them.",
        "train": "Train a model on a data set, and measure what it learns and forgets.",
        "iterate": "Rounds: answer tasks, train on what is right, measure, and again.",
        "eval": "Accuracies of models, and what was kept and lost between them.",
        "merge": "Interpolate between the weights before and after training.",
    },
    "Inspection": {
        "plan": "What a run of any size takes: attempts, tokens, GPU hours, money.",
        "show": "Show rows of a data set in the terminal.",
        "report": "An HTML page: token heat maps, perplexity by method, reasons, rows.",
        "template": "Show what is derived from a model's chat template: prefix, stop, spans.",
        "export": "Copy a data set to another format.",
        "push": "Send a finished data set, evaluation or model to the Hugging Face Hub.",
    },
}
"""The commands as README lists them, and what each does."""
COMMANDS = {name: said for group in GROUPS.values() for name, said in group.items()}


def module_of(name: str) -> str:
    """Where a command is."""
    return f"cli.{name.replace('-', '_')}"


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports `cli.NAME` (its `command`) on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the README, not alphabetical."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(module_of(cmd_name)).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where one is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Commands: {', '.join(COMMANDS)}."
            raise click.UsageError(f"no command {args[0]}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def _tell_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    from synth.data.run.versions import versions

    if asked:
        click.echo(f"synth, version {versions().get('synth', 'unknown: it is not installed')}")
        context.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_version, help="Show the version."
)
@click.option("--debug", is_flag=True, help="Show tracebacks, and what the engines print.")
def cli(debug: bool) -> None:
    """Post-train language models without making them forget: data in the model's own words.

    \b
    Examples:
      synth magpie --model Qwen/Qwen2.5-7B-Instruct -n 10000 -o replay
      synth magpie --model samples/model -n 5 --quiet | jq .messages
      synth show replay
    """  # noqa: D301 (\b is click's)
    if debug:
        os.environ["SYNTH_DEBUG"] = "1"
    _quiet_libraries()


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Exit status: 0 done, 2 wrong usage or input, 1 anything else."""
    statuses: list[int] = []
    if arguments is None:
        atexit.register(_leave, statuses)  # before any library registers something: what comes first is called last
        arguments = sys.argv[1:]
    standard.prepare()
    _spare_processors()
    if "--debug" in arguments:  # a flag of every command
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError:  # reported already
        standard.abandon()
    statuses.append(status)
    sys.exit(status)


def _leave(statuses: list[int]) -> None:
    """End a process that has come to its end, with its status, and leave it to the system to take it apart.

    All threads have been waited for, and what else was to be done at exit is done. Python would go on to free every
    object of the model libraries, one by one, for over a second.
    """
    if statuses:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(statuses[0])


def _run(arguments: list[str]) -> int:
    from synth.data.run.invocation import remember
    from synth.errors import SynthError, UsageError, with_options

    remember(arguments)
    try:
        if any("\0" in argument for argument in arguments):
            raise UsageError("an argument holds a null character, which no name has")
        if odd := next((argument for argument in arguments if _SURROGATE.search(argument)), None):
            raise UsageError(f"{odd!a} is not UTF-8, in which tables and records are written; rename the file")
        status: Any = cli.main(arguments, prog_name="synth", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return 1
    except SynthError as error:
        if debugging():
            raise
        _complain(with_options(str(error), _options(arguments)))
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # the reader of our output is gone, which is no error
        standard.abandon()
        return 1
    except OSError as error:
        if debugging():
            raise
        message, code = standard.complaint(error)
        standard.abandon()
        _complain(message)
        return code
    except MemoryError:
        _complain("out of memory: take smaller batches, or a part of the rows (--limit)")
        return 1
    except Exception as error:
        if debugging():
            raise
        _complain(f"{type(error).__name__}: {error} (a defect of synth; --debug shows where)")
        return 1
    return status if isinstance(status, int) else 0


def _options(arguments: list[str]) -> Mapping[str, str]:
    """How the settings of the command that was called are written."""
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    if name not in COMMANDS:
        return {}
    command: Command = importlib.import_module(module_of(name)).command
    return command.written()


def debugging() -> bool:
    """Whether --debug was given."""
    return os.environ.get("SYNTH_DEBUG") == "1"


def _spare_processors() -> None:
    """Spend little processor time on waiting, and none on looking for garbage where there is none.

    Threads of OpenMP, torch's among them, wait for one another by spinning, 300,000 times before they sleep: on
    processors that others use, too, a step of a small model then takes ten times its own time. 5,000 times suffice
    where nobody else runs (not to spin at all makes such a step slower by half). It is read when torch is imported.
    And model libraries make some 450,000 objects that stay: by default all are gone through again and again meanwhile.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    gc.set_threshold(10_000)


def _quiet_libraries() -> None:
    """Silence model libraries on the terminal; --debug shows their messages.

    They read these settings when they are imported, and no command has imported them yet. `synth` itself does not use
    `warnings` or `logging`.
    """
    if debugging():
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _complain(message: str) -> None:
    line = " ".join(message.split())
    click.echo(f"synth: {line}", err=True)
