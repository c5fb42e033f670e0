"""Data in the model's own words: make it, score it, mix it, train on it, and see what was kept.

Every command of the command line is a function here, of the same name and with the same settings and defaults:

    import synth

    with synth.load("samples/model") as model:
        replay = synth.magpie(model, rows=1000, output="replay")

Functions wait until their run has ended, go on with one that was interrupted, and can be called from a notebook.
Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from synth.errors import RequestError, RunError, Stopped, SynthError, UsageError
from synth.progress import SILENT, Progress

if TYPE_CHECKING:
    from synth import filters
    from synth.api.continuation import continuation
    from synth.api.dataset import Dataset
    from synth.api.describe import describe
    from synth.api.distil import distil
    from synth.api.evaluate import evaluate
    from synth.api.evaluation import Evaluation
    from synth.api.export import Export, export
    from synth.api.filter import Filtered, filter
    from synth.api.iterate import iterate
    from synth.api.iteration import Iteration
    from synth.api.join import join
    from synth.api.lamol import lamol
    from synth.api.magpie import magpie
    from synth.api.merge import merge
    from synth.api.minimum_change import minimum_change
    from synth.api.mix import mix
    from synth.api.models import load
    from synth.api.paraphrase import paraphrase
    from synth.api.places import FirstRows
    from synth.api.plan import plan
    from synth.api.push import push
    from synth.api.rate import rate
    from synth.api.reason import reason
    from synth.api.refuse import refuse
    from synth.api.rephrase import rephrase
    from synth.api.report import Report, report
    from synth.api.rewards import rewards
    from synth.api.run import run
    from synth.api.sample import sample
    from synth.api.score_tokens import score_tokens
    from synth.api.self_output import self_output
    from synth.api.ssr import ssr
    from synth.api.template import template
    from synth.api.train import train
    from synth.api.training import Training
    from synth.api.verify import verify
    from synth.chat.summary import ChatTemplate
    from synth.generation.models import Model
    from synth.rl.reward import Reward
    from synth.scoring.thresholds import Preview
    from synth.training.merge import Merged

_HOMES = {
    "ChatTemplate": "synth.chat.summary",
    "Dataset": "synth.api.dataset",
    "Evaluation": "synth.api.evaluation",
    "Export": "synth.api.export",
    "Filtered": "synth.api.filter",
    "Iteration": "synth.api.iteration",
    "FirstRows": "synth.api.places",
    "Merged": "synth.training.merge",
    "Model": "synth.generation.models",
    "Preview": "synth.scoring.thresholds",
    "Report": "synth.api.report",
    "Reward": "synth.rl.reward",
    "Training": "synth.api.training",
    "filters": "synth.filters",
    "load": "synth.api.models",
}
"""Where the names live that are not in a module of their own, `synth.api.NAME`."""

__all__ = [
    "SILENT",
    "ChatTemplate",
    "Dataset",
    "Evaluation",
    "Export",
    "Filtered",
    "FirstRows",
    "Iteration",
    "Merged",
    "Model",
    "Preview",
    "Progress",
    "Report",
    "RequestError",
    "Reward",
    "RunError",
    "Stopped",
    "SynthError",
    "Training",
    "UsageError",
    "continuation",
    "describe",
    "distil",
    "evaluate",
    "export",
    "filter",
    "filters",
    "iterate",
    "join",
    "lamol",
    "load",
    "magpie",
    "merge",
    "minimum_change",
    "mix",
    "paraphrase",
    "plan",
    "push",
    "rate",
    "reason",
    "refuse",
    "rephrase",
    "report",
    "rewards",
    "run",
    "sample",
    "score_tokens",
    "self_output",
    "ssr",
    "template",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    home = importlib.import_module(_HOMES.get(name, f"{__name__}.api.{name}"))
    found = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
