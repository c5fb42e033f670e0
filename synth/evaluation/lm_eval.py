"""Runs tasks of lm-eval, the evaluation harness of EleutherAI, where it is installed."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from synth.engines.loading import locate, remote_code_allowed
from synth.errors import UsageError


def check(tasks: Sequence[str]) -> None:
    """Check that it is installed.

    Args:
        tasks: names of tasks, or files.

    Raises:
        UsageError: it is not installed, or a task has no name.
    """
    if not all(tasks):
        raise UsageError("`lm_eval` names no task; give some, as in arc_easy,hellaswag")
    if importlib.util.find_spec("lm_eval") is None:
        raise UsageError("`lm_eval` needs lm-eval, which is not installed: pip install lm-eval")


def run(
    model: str, adapter: str | None, tasks: Sequence[str], limit: int | None, dtype: str, device: str
) -> dict[str, dict[str, float]]:
    """Evaluate a model with lm-eval.

    Args:
        model: a directory or a Hub id.
        adapter: the directory of an adapter of peft, or None.
        tasks: names of its tasks, or YAML files of own ones.
        limit: items of each task.
        dtype: "auto" is the model's own.
        device: "auto", "cuda", "cpu", …

    Returns:
        Metrics by name (`acc`, `exact_match,strict-match`, …), task by task.

    Raises:
        UsageError: it does not know a task, or cannot load what the task needs.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    from synth.engines.device import pick_device

    files = [Path(name) for name in tasks if name.endswith((".yaml", ".yml"))]
    names = [_name(Path(name)) if Path(name) in files else name for name in tasks]
    try:
        output = lm_eval.simple_evaluate(
            model="hf",
            model_args={
                "pretrained": locate(model),
                "peft": adapter,
                "dtype": dtype,
                "trust_remote_code": remote_code_allowed(),
            },
            tasks=names,
            task_manager=TaskManager(
                include_path=[str(file.parent) for file in files] or None,
                include_defaults=len(files) < len(tasks),  # to look through them takes seconds
            ),
            limit=limit,
            device=str(pick_device(device)),
            batch_size="auto",
            log_samples=False,
        )
    except Exception as error:  # tasks are third-party code, and may raise anything
        raise UsageError(
            f"lm-eval cannot evaluate {model} on {','.join(tasks)}: {' '.join(str(error).split())}"
        ) from error
    return {
        task: {name.removesuffix(",none"): value for name, value in metrics.items() if isinstance(value, int | float)}
        for task, metrics in output["results"].items()
    }


def _name(file: Path) -> str:
    """The name of a task in its file."""
    try:
        name = re.search(r"^task:\s*(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise UsageError(f"`lm_eval` {file}: {error.strerror or error}") from error
    if name is None:
        raise UsageError(f"`lm_eval` {file} names no task")
    return name[1]
