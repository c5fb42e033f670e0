"""`synth.load`: a model for the functions that use one."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from filters.names import ImportPathError, import_path_of
from synth.engines.base import EngineOptions
from synth.engines.open import OwnEngine, check_device
from synth.errors import UsageError
from synth.generation.asking import Asking
from synth.generation.models import Model, ModelName
from synth.values import Asked, Concurrency, Devices, DType, Fraction, MemoryShare, Tokens, Window, checked


@checked
def load(
    name: ModelName,
    *,
    engine: str | Sequence[str] | OwnEngine = "auto",
    prefix: str | None = None,
    stop: str | None = None,
    template_args: Mapping[str, Any] = MappingProxyType({}),
    mode: Asked | None = None,
    thinking_share: Fraction = 0.5,
    thought_tokens: Tokens | None = None,
    dtype: DType = "auto",
    device: str = "auto",
    max_length: Window | None = None,
    concurrency: Concurrency = 256,
    tensor_parallel: Devices = 1,
    data_parallel: Devices = 1,
    gpu_memory: MemoryShare | None = None,
    api_key: str | None = None,
    adapter: str | os.PathLike[str] | None = None,
    engine_args: Mapping[str, Any] = MappingProxyType({}),
    trust_remote_code: bool = False,
) -> Model:
    """A model by name, to be used by several functions and freed at the end: `with synth.load(…) as model:`.

    Its chat template and its weights are read when a function first needs them.

    Args:
        name: a directory, here or elsewhere (`s3://bucket/model`, which is fetched once), or a Hub id (`hf://USER/NAME`
            as well); or MODEL@URL, which is a model on a server.
        engine: "auto", "vllm", "transformers", the address of a server with `/v1/completions`, or an engine of your own
            as "module:function" or as the function itself. Several addresses, or a file with one a line, which is read
            again when it changes, are servers that share the work.
        prefix: what precedes a user message, instead of what the chat template says.
        stop: what ends a user message, with `prefix`.
        template_args: variables of the model's chat template, by name, such as `reasoning_effort`; `synth template`
            lists those that it reads.
        mode: whether models that can do both think before they answer: thinking, plain or both; rows say which they
            are. By default as the chat template has it.
        thinking_share: with `mode` both, the share of rows in which the model thinks.
        thought_tokens: most tokens of thoughts, beside `max_tokens` of the answer; without it they share those.
        dtype: number format; by default the model's own on a GPU, float32 on a CPU.
        device: for transformers: "cuda", "mps" or "cpu".
        max_length: the window, in tokens; the model's by default.
        concurrency: requests at once: the engine's batch; of several servers together, the most.
        tensor_parallel: for vLLM: GPUs an engine.
        data_parallel: for vLLM: engines side by side, each with the whole model on GPUs of its own and with
            `concurrency` requests at once.
        gpu_memory: for vLLM: share of the GPU's memory that the model takes; 0.9 by default, shared by the models that
            are open.
        api_key: for a server.
        adapter: a LoRA adapter that is applied to the model, as `synth.train` leaves it in DIR/adapter: a directory or
            a Hub id; on a server, what the model is called there with it.
        engine_args: arguments of vLLM's own, by their names there, such as `speculative_config`, `quantization` or
            `kv_cache_dtype`.
        trust_remote_code: let the model run code that comes with it; without this it never does.

    Raises:
        UsageError: there is no such model, engine, device or mode, its window is smaller than `max_length`, the adapter
            is none of this model's, or the engine does not take an argument.
    """
    if not isinstance(engine, str | Sequence):
        try:
            engine = import_path_of(engine)
        except ImportPathError as error:
            raise UsageError(f"`engine` {error}") from error
    check_device(device)
    options = EngineOptions(
        dtype=dtype,
        device=device,
        max_length=max_length,
        concurrency=concurrency,
        tensor_parallel=tensor_parallel,
        data_parallel=data_parallel,
        gpu_memory=gpu_memory,
        api_key=api_key,
        adapter=None if adapter is None else os.fspath(adapter),
        engine_args=_json_values(engine_args),
    )
    return Model(
        name,
        engine=engine,
        prefix=prefix,
        stop=stop,
        options=options,
        trust_remote_code=trust_remote_code,
        asking=Asking(dict(template_args), mode, thinking_share, thought_tokens),
    )


def _json_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an engine by their names in Python, as a run's record can hold them.

    Raises:
        UsageError: a value is none of JSON, or two names are one.
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"`engine_args` {name} is recorded as JSON, which has no {value!r}") from error
        written = name.removeprefix("--").replace("-", "_")
        if written in found:
            raise UsageError(f"`engine_args` {written} is given twice")
        found[written] = value
    return found


@contextmanager
def used(model: Model | ModelName, instead: Model | ModelName | None = None) -> Iterator[Model]:
    """A model as it is; one that is given by name is freed at the end.

    Args:
        model: the model.
        instead: another one that takes its place: by name, it is run with the options of `model`.

    Raises:
        UsageError: there is no such model.
    """
    if isinstance(instead, Model):
        yield instead
    elif not isinstance(model, Model):
        with Model(instead or model) as named:
            yield named
    elif instead is None or model.is_called(instead):
        yield model
    else:
        with model.other(instead, prefix=model.prefix, stop=model.stop) as named:
            yield named
