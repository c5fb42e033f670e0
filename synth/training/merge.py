"""Merges the weights of two models of one family, such as the model before and after training.

    ratio r          (1 - r) base + r tuned                  interpolation (arXiv 2412.19512)
    add a chat model tuned + r (chat - base)                 the chat vector (arXiv 2310.04799)

Weights are read, merged in float32 and written tensor by tensor, in the shards of the tuned model: what is held is one
shard of the result.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.data.run.card import fenced
from synth.data.run.invocation import command_line
from synth.data.run.lock import NAME as LOCK
from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.store.address import is_address
from synth.data.store.path import File, name_of
from synth.engines.loading import locate
from synth.engines.open import model_revision
from synth.errors import RunError, UsageError
from synth.nearest import path_hint

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SMALL = (".json", ".jinja", ".model", ".txt", ".py")
"""Of a model's files those that are copied: configuration, tokenizer, its own code (which is not run)."""


_LOADING = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({0}, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained({0})"""


@dataclass(slots=True)
class Merged:
    """A merged model; it can be given wherever a function of `synth` takes the name of a model.

    Attributes:
        path: its directory; elsewhere what stands for it there.
        tensors: how many tensors are merged.
        kept: the names of those that are taken from the tuned model as they are.
    """

    path: File
    tensors: int = 0
    kept: list[str] = field(default_factory=list)

    def __fspath__(self) -> str:
        return name_of(self.path)

    def __str__(self) -> str:
        return str(self.path)


def merge(
    base: str, tuned: str, output: Path, *, ratio: float, add: str | None = None, replace: bool = False
) -> Merged:
    """Merge two models (directories or Hub ids) into a directory; everything but the weights is the tuned model's.

    Embeddings and heads of another number of rows (a vocabulary that grew) are left as the tuned model has them, as are
    tensors that are no floating-point numbers.

    Args:
        base: the model before training.
        tuned: the model after it.
        output: a directory, which appears whole.
        ratio: how much of the tuned model, or of the chat vector.
        add: a chat model of the same base, for a chat vector.
        replace: whether an older one may be there; it stays until the new one is whole.

    Raises:
        UsageError: a model cannot be found, holds no safetensors, or they are not of one family.
        RunError: the disk is full.
    """
    if not 0 <= ratio <= (1 if add is None else sys.float_info.max):
        most = "1 (the tuned model)" if add is None else "any number"
        raise UsageError(f"`ratio` is between 0 (the base) and {most}, not {ratio}")
    if output.exists() and not replace:
        raise UsageError(f"{output} exists; choose another `output`")
    names = [base, tuned] if add is None else [base, tuned, add]
    folders = [_folder(name) for name in names]
    weights = [_weights(folder, name) for folder, name in zip(folders, names, strict=True)]
    _one_family(names, weights)
    fresh = output.with_name(f".{output.name}.tmp")
    merged = Merged(output)
    try:
        lock = lock_directory(fresh)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error
    try:
        for left in fresh.iterdir():  # by a merge that was killed
            if left.name != LOCK:
                left.unlink()
        _copy_rest(folders[1], fresh)
        for shard in dict.fromkeys(weights[1].values()):
            _merge_shard(shard, weights, ratio, fresh / shard.name, merged)
        facts: dict[str, Any] = {"base": base, "tuned": tuned, "add": add, "ratio": ratio, "kept": merged.kept}
        facts["tensors"] = merged.tensors
        facts["revisions"] = {name: model_revision(str(folder)) for name, folder in zip(names, folders, strict=True)}
        record = {"command": "merge", "command_line": command_line(), "settings": facts, "model": tuned}
        (fresh / "run.json").write_text(json.dumps(record, indent=2) + "\n")
        (fresh / "README.md").write_text(_card(facts, merged), encoding="utf-8")
        if replace:
            shutil.rmtree(output, ignore_errors=True)
        os.rename(fresh, output)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        unlock_directory(fresh, lock)
        if isinstance(error, OSError):
            raise RunError(f"cannot write {output}: {error.strerror or error}. Nothing is left of it") from error
        raise
    unlock_directory(output, lock)
    return merged


def _card(facts: dict[str, Any], merged: Merged) -> str:
    """The model card: what was merged, in what ratio, and how to load it."""
    base, tuned, add, ratio = (facts[name] for name in ("base", "tuned", "add", "ratio"))
    made = (
        f"`{tuned}` and `{base}`, merged by `synth merge`: {ratio:g} of the way from the second to the first."
        if add is None
        else f"`{tuned}` with {ratio:g} of what makes `{add}` of `{base}`, a chat vector, added by `synth merge`."
    )
    models = dict.fromkeys((base, tuned) if add is None else (base, tuned, add))
    lines = [
        "---",
        "library_name: transformers",
        "base_model:",
        *(f"- {json.dumps(name)}" for name in models),
        "tags: [merge, synth]",
        "---",
        f"# {merged.path.name}",
        "",
        f"{made} {merged.tensors:,} tensors are merged; configuration and tokenizer are those of `{tuned}`.",
        *(
            ["", f"Left as `{tuned}` has them: {', '.join(f'`{name}`' for name in merged.kept)}."]
            if merged.kept
            else []
        ),
    ]
    if (line := command_line()) is not None:
        lines += ["", *fenced(line, "sh")]
    lines += [
        "",
        *fenced(_LOADING.format(json.dumps(merged.path.name)), "python"),
        "",
        "| model | revision |",
        "|---|---|",
    ]
    return (
        "\n".join([*lines, *(f"| `{name}` | `{revision}` |" for name, revision in facts["revisions"].items())]) + "\n"
    )


def is_merge_of(merged: File, base: str, tuned: str, ratio: float, add: str | None = None) -> bool:
    """Whether a directory holds the merge of these very models (their weights, not their names) at a ratio.

    Raises:
        UsageError: a model cannot be found.
    """
    models = {"base": base, "tuned": tuned, "add": add}
    try:
        settings = json.loads((merged / "run.json").read_text(encoding="utf-8"))["settings"]
        revisions = [settings["revisions"].get(settings[part]) for part in models]
        kind = settings["ratio"], revisions
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    now = [None if name is None else model_revision(str(_folder(name))) for name in models.values()]
    return bool(kind == (ratio, now))


def merged_before(output: File, base: str, tuned: str, ratio: float, add: str | None) -> Merged | None:
    """The merge of these models that a directory holds; None where it holds something else.

    Raises:
        UsageError: a model cannot be found.
    """
    if not (output / "run.json").is_file() or not is_merge_of(output, base, tuned, ratio, add):
        return None
    settings = json.loads((output / "run.json").read_text(encoding="utf-8"))["settings"]
    kept, tensors = settings.get("kept", []), settings.get("tensors")
    if tensors is None and isinstance(output, Path):  # an earlier release did not say
        tensors = len(_weights(output, str(output))) - len(kept)
    return Merged(output, int(tensors or 0), kept)


def _merge_shard(shard: Path, weights: list[dict[str, Path]], ratio: float, target: Path, into: Merged) -> None:
    """Merge the tensors that one shard of the tuned model holds."""
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    result: dict[str, Any] = {}
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}

        def tensor(model: int, name: str) -> Any:
            path = weights[model][name]
            try:
                if path not in opened:
                    opened[path] = stack.enter_context(safe_open(path, "pt"))
                return opened[path].get_tensor(name)
            except SafetensorError as error:
                raise UsageError(f"{path} is damaged or cut short: {' '.join(str(error).split())}") from error

        for name in (name for name, place in weights[1].items() if place == shard):
            others = [tensor(model, name) for model in range(len(weights)) if model != 1]
            own = tensor(1, name)
            if not own.is_floating_point() or any(other.shape != own.shape for other in others):
                result[name] = own
                into.kept.append(name)
                continue
            before = others[0].to(torch.float32)
            if len(others) == 1:
                between = torch.lerp(before, own.to(torch.float32), ratio)
            else:
                between = own.to(torch.float32) + ratio * (others[1].to(torch.float32) - before)
            result[name] = between.to(own.dtype)
            into.tensors += 1
        save_file(result, target, metadata={"format": "pt"})


def _folder(name: str) -> Path:
    """The directory of a model; one of the Hub, or of a store, is fetched."""
    if is_address(name):
        name = locate(name)
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return path
    if path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UsageError(f"no model at {name}: there is no such directory{path_hint(path, Path.is_dir)}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[f"*{kind}" for kind in (*SMALL, ".safetensors")]))
    except (
        Exception
    ) as error:  # the Hub's library raises many kinds of errors, which all mean that it cannot be fetched
        reason = path_hint(path, Path.is_dir) or f": {str(error).strip().splitlines()[0]}"
        raise UsageError(f"{name} is no local directory, and cannot be fetched from the Hub{reason}") from error


def _weights(folder: Path, name: str) -> dict[str, Path]:
    """The file that each tensor of a model is in, in the order of the files."""
    from safetensors import SafetensorError, safe_open

    if (folder / INDEX).is_file():
        try:
            index: dict[str, str] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            order = sorted(index.items(), key=lambda item: (item[1], item[0]))
            files = {key: folder / Path(file).name for key, file in order}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise UsageError(f"{folder / INDEX} is damaged: it does not say which file each tensor is in") from error
        if missing := next((file for file in files.values() if not file.is_file()), None):
            raise UsageError(f"{missing} is missing")
        return files
    if (folder / SINGLE).is_file():
        try:
            with safe_open(folder / SINGLE, "pt") as file:
                return dict.fromkeys(file.keys(), folder / SINGLE)
        except (SafetensorError, OSError) as error:
            raise UsageError(f"{folder / SINGLE} is damaged or cut short: {' '.join(str(error).split())}") from error
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"{name} holds an adapter, not a whole model: merge it into its base first (peft: merge_and_unload)"
        )
    raise UsageError(f"{name} holds no weights as safetensors; save it once more with save_pretrained")


def _one_family(names: list[str], weights: list[dict[str, Path]]) -> None:
    for name, tensors in zip(names, weights, strict=True):
        if differing := sorted(weights[1].keys() ^ tensors.keys()):
            raise UsageError(
                f"{names[1]} and {name} are not of one family: {len(differing)} tensors are in one of them only, "
                f"{differing[0]} among them"
            )


def _copy_rest(folder: Path, target: Path) -> None:
    """Copy configuration, tokenizer and the index of the shards."""
    for file in _small_files(folder):
        shutil.copy(file, target / file.name)


def _small_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if file.suffix in SMALL and file.name != "run.json":
            yield file
