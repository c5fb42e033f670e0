"""Adapters: the few weights that peft trains beside a model, as a directory with `adapter_config.json`.

An engine runs a model with one as the model that it makes of it: merged into the weights (transformers), or applied
beside them (vLLM). The tokenizer and the chat template are the model's own.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.data.store.address import is_address
from synth.data.store.folder import fetched
from synth.engines.loading import locate, outline, reading
from synth.engines.weights import same_weights
from synth.errors import UsageError
from synth.nearest import path_hint
from synth.small_text import read_small

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""What peft puts before the name of a module of the model."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's directory and what its configuration says.

    Attributes:
        folder: the directory.
        config: peft's configuration.
    """

    folder: Path
    config: dict[str, Any]

    @property
    def kind(self) -> str:
        """The method, as peft calls it: LORA, LOHA, and others."""
        return str(self.config.get("peft_type"))

    @property
    def rank(self) -> int:
        """The highest rank of its matrices; of LoRA."""
        return max(_ranks(self.config))

    @property
    def base(self) -> str | None:
        """The model that it says it was trained on."""
        base = self.config.get("base_model_name_or_path")
        return base if isinstance(base, str) and base else None


def adapter_for(adapter: str, model: str) -> str:
    """The directory of an adapter that fits a model; one of the Hub is fetched. The model is not loaded.

    Args:
        adapter: a directory or a Hub id.
        model: a directory or a Hub id.

    Raises:
        UsageError: it is not there, is no adapter, is damaged, or was made for another model.
    """
    folder = _locate(adapter)
    _check_fit(read_adapter(folder), model)
    return folder


def said_of(folder: str | None) -> str:
    """The end of an engine's description: which adapter it applies, and to what it says it belongs; empty for None."""
    if folder is None:
        return ""
    base = read_adapter(folder).base
    return f", adapter {folder}" + (f" (trained on {base})" if base else "")


def doubt_of(folder: str | None, model: str) -> str | None:
    """A line about an adapter that names another model than the one it is applied to, where they cannot be compared."""
    if folder is None:
        return None
    adapter = read_adapter(folder)
    if _has_base(adapter, model) is not None:
        return None
    return (
        f"`adapter` {folder} was made for {adapter.base}, which could not be compared with {model}: where that is "
        "another model of the same size, answers are poor"
    )


def _locate(adapter: str) -> str:
    if is_address(adapter):
        return str(fetched(adapter, "`adapter`", (CONFIG,)))
    folder = Path(adapter).expanduser()
    fault = f"`adapter` {adapter[:200]}"
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            inside = folder / "adapter"
            hint = f"; the adapter that was trained with it is {inside}" if (inside / CONFIG).is_file() else ""
            raise UsageError(f"{fault} is no adapter: it has no {CONFIG}{hint}")
        return str(folder)
    if folder.exists() or adapter.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+", adapter):
        raise UsageError(f"{fault}: no such directory{path_hint(folder, Path.is_dir)}")
    from huggingface_hub import snapshot_download

    with reading(adapter, f"{fault}: neither a directory here nor an adapter on the Hub"):
        return snapshot_download(adapter, allow_patterns=[CONFIG, WEIGHTS])


def read_adapter(folder: str) -> Adapter:
    """An adapter's configuration.

    Raises:
        UsageError: it cannot be read, or is none of peft's.
    """
    file = Path(folder) / CONFIG
    try:
        config = json.loads(read_small(file))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"`adapter` {file} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise UsageError(f"`adapter` {file} is no configuration of peft: it names no peft_type")
    adapter = Adapter(Path(folder), config)
    if adapter.kind == "LORA" and not all(isinstance(rank, int) and rank >= 1 for rank in _ranks(config)):
        raise UsageError(f"`adapter` {file} is damaged: it gives its matrices the ranks {str(_ranks(config))[:80]}")
    return adapter


def _ranks(config: dict[str, Any]) -> list[int]:
    """The ranks in a configuration, as it has them."""
    patterns = config.get("rank_pattern")
    return [config.get("r", 0), *(patterns.values() if isinstance(patterns, dict) else ())]


def _check_fit(adapter: Adapter, model: str) -> None:
    """Refuse an adapter whose weights cannot be read, have no place in the model, or have another size there."""
    shapes = _shapes(adapter)
    modules = dict(outline(model).named_modules())
    known = {name: tuple(module.weight.shape) for name, module in modules.items() if _is_matrix(module)}
    other = f"`adapter` {adapter.folder} was made for another model than {model}" + (
        f" ({adapter.base})" if adapter.base not in (None, model) else ""
    )
    for name, shape in shapes.items():
        found = re.fullmatch(rf"{re.escape(_PREFIX)}(.+?)(?:\.base_layer)?\.lora_([AB])\.weight", name)
        if found is None:
            continue
        place, side = found[1], found[2]
        if place not in modules:
            raise UsageError(f"{other}: {place} is not in it")
        if place in known and shape[1 if side == "A" else 0] != known[place][1 if side == "A" else 0]:
            raise UsageError(f"{other}: {place} has the size {known[place]} there, and {shape} does not fit it")

    if _has_base(adapter, model) is False:
        raise UsageError(
            f"`adapter` {adapter.folder} was made for {adapter.base}, whose weights are not those of {model} "
            f"(base_model_name_or_path in its {CONFIG})"
        )


def _has_base(adapter: Adapter, model: str) -> bool | None:
    """Whether a model is the one that an adapter names, if it names one; None where that cannot be told."""
    if adapter.base in (None, model):
        return True
    base, given = Path(str(adapter.base)).expanduser(), Path(locate(model))
    if not ((base / "config.json").is_file() and given.is_dir()):
        return None
    return same_weights(base, given)


def _is_matrix(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "dim", lambda: 0)() == 2


def _shapes(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """The sizes of an adapter's matrices by their names."""
    from safetensors import SafetensorError, safe_open

    file = adapter.folder / WEIGHTS
    if not file.is_file():
        raise UsageError(f"`adapter` {adapter.folder} has no {WEIGHTS}; save it once more with save_pretrained")
    try:
        with safe_open(file, "pt") as weights:
            shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(f"`adapter` {file} is damaged or cut short: {' '.join(str(error).split())}") from error
    if not shapes:
        raise UsageError(f"`adapter` {file} holds no weights")
    return shapes


def merged(model: Any, adapter: Adapter) -> Any:
    """The model that an adapter makes of a model of transformers, in eval mode; the model given is used up.

    Raises:
        UsageError: peft is not installed, refuses the adapter, or cannot merge it.
    """
    try:
        import peft
    except ImportError as error:
        raise UsageError("`adapter` with `engine` transformers needs peft: pip install peft") from error
    with reading(str(adapter.folder), f"`adapter` {adapter.folder} cannot be applied"):
        adapted = peft.PeftModel.from_pretrained(model, str(adapter.folder), torch_device=str(model.device))
        if not hasattr(adapted.base_model, "merge_and_unload"):
            raise UsageError(f"`adapter` {adapter.folder}: {adapter.kind} cannot be merged into a model's weights")
        return adapted.merge_and_unload(safe_merge=True).eval()
