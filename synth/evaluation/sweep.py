"""A sweep: models merged from the one before training and the one after it, at several ratios."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from synth.errors import UsageError
from synth.generation.models import Model
from synth.progress import Progress


def check_ratios(ratios: str | Sequence[float], names: Sequence[str] = ()) -> tuple[float, ...]:
    """The ratios of a sweep, each once, in the order given.

    Args:
        ratios: shares of the way from the first model to the second; or these as text, between commas.
        names: the names of other models; a merged one is named by its ratio.

    Raises:
        UsageError: there are none, one is not between 0 and 1, or a name is taken.
    """
    written = ratios if isinstance(ratios, str) else ",".join(map(str, ratios))
    try:
        once = tuple(dict.fromkeys(map(float, written.split(","))))
    except ValueError:
        once = ()
    if not once or not all(0 < ratio < 1 for ratio in once):
        raise UsageError(f"`sweep` {written or 'without ratios'}: ratios lie between 0 and 1, as in 0.2,0.4,0.6,0.8")
    if taken := next((str(ratio) for ratio in once if str(ratio) in names), None):
        raise UsageError(f"a model is called {taken}, as the one of `sweep` {taken} will be: give it another name")
    return once


def merged_models(
    models: Mapping[str, Model], ratios: Sequence[float], folder: Path, *, restart: bool, progress: Progress
) -> dict[str, Model]:
    """The merged models by their ratios; those that do not exist yet are made.

    Args:
        models: the one before training and the one after it.
        ratios: as `check_ratios` gives them.
        folder: where they go, each in a directory of its own.
        restart: whether those that are there are made anew; each stays until the new one is whole.
        progress: is told what is made.

    Raises:
        UsageError: those that are there were made of other models, or the two cannot be merged.
        RunError: the disk is full.
    """
    from synth.training.merge import is_merge_of, merge

    base, tuned = models.values()
    made: dict[str, Model] = {}
    for ratio in ratios:
        path = folder / str(ratio)
        if restart or not path.exists():
            progress.say(f"merging at ratio {ratio}")
            merge(base.name, tuned.name, path, ratio=ratio, replace=restart)
        elif not is_merge_of(path, base.name, tuned.name, ratio):
            raise UsageError(f"{path} was made of other models: give `restart`, or another `output`")
        made[str(ratio)] = base.other(str(path), prefix=base.prefix, stop=base.stop)
    return made
