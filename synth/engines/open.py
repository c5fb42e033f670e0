"""Which engine runs a model, and which revision of the model it is."""

import hashlib
import importlib.util
import json
import math
from pathlib import Path

from synth.engines.base import GPU_MEMORY, Engine, EngineOptions, Tokenizer
from synth.engines.loading import load_config, locate
from synth.errors import UsageError

BLOCKS, BLOCK = 1_024, 4_096
"""Of a weight file so many blocks are looked at, of so many bytes."""


def choose_engine(engine: str) -> tuple[str, str]:
    """The kind of engine ("vllm", "transformers" or "server") for an `--engine` value, and why, for people.

    "auto" takes vLLM where it is installed and there is a GPU, else transformers: on a CPU vLLM takes longer to start
    than most of what is run on one takes in all.

    Raises:
        UsageError: no such engine.
    """
    if engine.startswith(("http://", "https://")):
        return "server", "an address was given"
    if engine in ("vllm", "transformers"):
        return engine, "asked for"
    if engine != "auto":
        raise UsageError(f"`engine` {engine} is unknown; take auto, vllm, transformers or the address of a server")
    if importlib.util.find_spec("vllm") is None:
        return "transformers", "vLLM is not installed"
    import torch

    if torch.cuda.is_available():
        return "vllm", f"vLLM is installed and there is a GPU ({torch.cuda.get_device_name()})"
    return "transformers", "no GPU is here, where vLLM takes long to start; --engine vllm takes it all the same"


def shared_memory(models: int) -> float:
    """The share of a GPU's memory for each of so many models on it: equal parts of what one alone takes by default."""
    return math.floor(100 * GPU_MEMORY / models) / 100


async def open_engine(engine: str, model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    """Load `model` into the engine an `--engine` value names.

    Raises:
        UsageError: the engine or the model cannot be had; nothing was started.
    """
    kind, _ = choose_engine(engine)
    if kind == "server":
        from synth.engines.server.engine import open_server

        return await open_server(engine, model, tokenizer, options)
    if kind == "vllm":
        from synth.engines.vllm import open_vllm

        return await open_vllm(model, tokenizer, options)
    from synth.engines.hf.engine import open_transformers

    return await open_transformers(model, tokenizer, options)


def model_revision(model: str) -> str:
    """What identifies the weights behind a name: a digest for a local directory, the commit for a Hub id.

    The digest covers the configuration, the tokenizer, code that comes with the model, and of each weight file the size
    and blocks from all over it: it differs for any further training, of whatever part, and reads no whole model.

    Raises:
        UsageError: the Hub does not know the model, or cannot be reached.
    """
    folder = Path(locate(model))
    if folder.is_dir():
        return _fingerprint(folder)
    return load_config(model)._commit_hash or "unknown"


def _fingerprint(folder: Path) -> str:
    parts: list[object] = []
    for file in sorted(file for file in folder.iterdir() if file.is_file()):  # a pipe would be waited for
        if file.suffix in (".json", ".jinja", ".model", ".py"):
            parts.append((file.name, hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()))
        elif file.suffix in (".safetensors", ".bin"):
            parts.append((file.name, file.stat().st_size, _weights_digest(file)))
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _weights_digest(file: Path) -> str:
    """Of blocks at equal distances: the ends alone would be the same where embeddings or some layers were frozen."""
    content = hashlib.blake2b(digest_size=16)
    step = max(BLOCK, file.stat().st_size // BLOCKS)
    with open(file, "rb") as weights:
        for place in range(0, file.stat().st_size, step):
            weights.seek(place)
            content.update(weights.read(BLOCK))
    return content.hexdigest()
