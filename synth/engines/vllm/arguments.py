"""The arguments that vLLM is started with: synth's own, and those that a user gives beside them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import IO, Any

from filters.names import did_you_mean
from synth.engines.adapters import Adapter, read_adapter
from synth.engines.base import GPU_MEMORY, EngineOptions
from synth.engines.loading import remote_code_allowed
from synth.engines.vllm.processes import apart, new_log
from synth.errors import UsageError

_TEXT = "prompts and completions are the tokens of the model's own tokenizer"
_ASKED = "each request says how it is sampled: `temperature`, `top_p`, `top_k`, `max_tokens`"
_GENERATES = "the model generates text"
_NEWEST = "models are taken as they are on the Hub now; download that revision and give its directory as `model`"
_ADAPTER = "`adapter` sets it"
_CHANGES = "it would change what is drawn, and the log-probabilities of rows would not say so"
_ALL_ENGINES = "requests go to all engines of `data_parallel`"
_RATES = "synth shows the rates itself"

SET_BY_SYNTH = {
    "model": "it is `model`",
    "model_weights": "it is `model`",
    "hf_config_path": "it is in `model`",
    "tokenizer": _TEXT,
    "tokenizer_mode": _TEXT,
    "skip_tokenizer_init": _TEXT,
    "tokens_only": _TEXT,
    "runner": _GENERATES,
    "convert": _GENERATES,
    "pooler_config": _GENERATES,
    "dtype": "it is `dtype`",
    "max_model_len": "it is `max_length`",
    "tensor_parallel_size": "it is `tensor_parallel`",
    "data_parallel_size": "it is `data_parallel`",
    "data_parallel_rank": _ALL_ENGINES,
    "data_parallel_start_rank": _ALL_ENGINES,
    "data_parallel_external_lb": _ALL_ENGINES,
    "data_parallel_multi_port_external_lb": _ALL_ENGINES,
    "data_parallel_hybrid_lb": _ALL_ENGINES,
    "gpu_memory_utilization": "it is `gpu_memory`",
    "kv_cache_memory_bytes": "`gpu_memory` sets it",
    "max_num_seqs": "it is `concurrency`",
    "seed": "every row has a seed of its own, made from `seed`",
    "generation_config": _ASKED,
    "override_generation_config": _ASKED,
    "logprobs_mode": "log-probabilities are the model's own, at temperature 1",
    "logits_processors": _CHANGES,
    "watermark_config": _CHANGES,
    "enable_lora": _ADAPTER,
    "max_loras": _ADAPTER,
    "max_lora_rank": _ADAPTER,
    "default_mm_loras": _ADAPTER,
    "lora_target_modules": _ADAPTER,
    "revision": _NEWEST,
    "code_revision": _NEWEST,
    "tokenizer_revision": _NEWEST,
    "trust_remote_code": "it is `trust_remote_code`",
    "hf_token": "a run's record would hold the token; set HF_TOKEN in the environment",
    "disable_log_stats": _RATES,
    "use_tqdm_on_load": _RATES,
}
"""vLLM's arguments that contradict what synth sets, or depends on, and why, or by which setting they are given."""

_ELSEWHERE = ("data_parallel_backend", "distributed_executor_backend", "data_parallel_size_local", "nnodes")
"""vLLM's arguments with which it may take GPUs of other machines."""

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Highest ranks of adapters that vLLM can be started for."""


@contextmanager
def importing(log: IO[str]) -> Iterator[None]:
    """Import vLLM, or start its processes, apart from the terminal; what is printed goes to `log`.

    Raises:
        UsageError: it is not installed.
    """
    with apart(log):
        try:
            yield
        except ImportError as error:
            raise UsageError(
                f"vLLM cannot be imported ({error}). Install it (pip install vllm), or take `engine` transformers"
            ) from error


def check_options(options: EngineOptions) -> None:
    """Refuse arguments and adapters that vLLM does not take, before a model is loaded.

    Raises:
        UsageError: it does not know an argument, synth sets it itself, or it cannot apply the adapter.
    """
    for name in options.engine_args:
        if name in SET_BY_SYNTH:
            raise UsageError(f"`engine_args` {name}: {SET_BY_SYNTH[name]}")
    if options.engine_args:
        _check_names(options.engine_args)
    _check_devices(options)
    if options.adapter is not None:
        _check_adapter(read_adapter(options.adapter))


def arguments_of(model: str, options: EngineOptions, *, on_cpu: bool) -> dict[str, Any]:
    """The arguments that vLLM is started with.

    Args:
        model: a local path or a Hub id.
        options: how it is run; the user's own arguments come last.
        on_cpu: whether vLLM runs on a CPU.
    """
    arguments: dict[str, Any] = {
        "model": model,
        # On a CPU bfloat16 selects kernels that some virtual machines cannot run.
        "dtype": "float32" if options.dtype == "auto" and on_cpu else options.dtype,
        "max_model_len": options.max_length,
        "tensor_parallel_size": options.tensor_parallel,
        "data_parallel_size": options.data_parallel,
        "gpu_memory_utilization": options.gpu_memory or GPU_MEMORY,
        "max_num_seqs": options.concurrency,
        # vLLM's CPU worker dies when a prompt with a seed of its own is prefilled in parts (it rewinds the
        # random generator, which no CPU generator can: "CPU Generator does not use offset").
        "enable_chunked_prefill": False if on_cpu else None,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "logprobs_mode": "raw_logprobs",
        "use_tqdm_on_load": False,
        "trust_remote_code": remote_code_allowed(),
    }
    if options.adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _highest(read_adapter(options.adapter))}
    return arguments | dict(options.engine_args)


def _check_names(given: Mapping[str, Any]) -> None:
    with new_log() as log, importing(log):
        from vllm.engine.arg_utils import AsyncEngineArgs
    known = [field.name for field in fields(AsyncEngineArgs) if not field.name.startswith("_")]
    for name in given:
        if name not in known:
            near = did_you_mean(name, (one for one in known if one not in SET_BY_SYNTH))
            raise UsageError(f"`engine_args` {name}: vLLM has no such engine argument{near}")


def _check_devices(options: EngineOptions) -> None:
    """Refuse more GPUs than there are. Where there is none, vLLM runs on the CPU."""
    wanted = options.tensor_parallel * options.data_parallel
    if wanted == 1 or any(name in options.engine_args for name in _ELSEWHERE):
        return
    import torch

    there = torch.cuda.device_count()
    if 0 < there < wanted:
        raise UsageError(
            f"`tensor_parallel` {options.tensor_parallel} and `data_parallel` {options.data_parallel} take {wanted:,} "
            f"GPUs; {there:,} are here"
        )


def _check_adapter(adapter: Adapter) -> None:
    if adapter.kind != "LORA":
        raise UsageError(
            f"`adapter` {adapter.folder}: vLLM applies LoRA, not {adapter.kind}; merge it (peft: merge_and_unload), or "
            "take `engine` transformers"
        )
    with new_log() as log, importing(log):
        from vllm.config.lora import LoRAConfig
        from vllm.lora.peft_helper import PEFTHelper
    try:
        PEFTHelper.from_dict(adapter.config).validate_legal(LoRAConfig(max_lora_rank=_highest(adapter)))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"`adapter` {adapter.folder}: {' '.join(str(error).split())[:300]} Merge it (peft: merge_and_unload), or "
            "take `engine` transformers"
        ) from error


def _highest(adapter: Adapter) -> int:
    """The rank that vLLM is started for: the lowest of its own that is enough.

    Raises:
        UsageError: there is none.
    """
    for rank in _RANKS:
        if rank >= adapter.rank:
            return rank
    raise UsageError(f"`adapter` {adapter.folder} has rank {adapter.rank:,}; vLLM takes {_RANKS[-1]} at most")
