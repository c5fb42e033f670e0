"""Libraries that only some settings need, and the extras of the package that they come with."""

from importlib.util import find_spec

from synth.errors import UsageError
from synth.training.settings import TrainedParts, TrainingSettings


def require_libraries(settings: TrainingSettings, trained: TrainedParts) -> None:
    """Check that what a training needs is installed; nothing of it is imported yet.

    Raises:
        UsageError: a library is missing.
    """
    if trained.adapts:
        require("peft", "adapters", "`lora`" if trained.lora is not None else "`peft`")
    if trained.quantise:
        require("bitsandbytes", "memory", f"`quantise` {trained.quantise}")
    if settings.weights == "bfloat16":
        require("torchao", "memory", "`weights` bfloat16")
    if settings.optimizer == "adamw-8bit":
        require("torchao", "memory", "`optimizer` adamw-8bit")


def require(library: str, extra: str, setting: str) -> None:
    """Check that a library is installed.

    Args:
        library: what is imported.
        extra: of the package, with which it comes.
        setting: what needs it, for a person.

    Raises:
        UsageError: it is not.
    """
    if find_spec(library) is None:
        raise UsageError(f"{setting} needs {library}, which is not installed: pip install -e '.[{extra}]'")
