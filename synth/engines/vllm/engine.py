"""vLLM in process, on its asynchronous engine: continuous batching, prefix caching, one request a prompt.

Requests go in row by row and only final outputs come back. Text is decoded here, once per completion: vLLM's own
incremental detokenisation, a cost per token in the front-end process, runs only where a stop string needs it.
"""

import atexit
import gc
import itertools
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Literal

from synth.engines.adapters import said_of
from synth.engines.base import Completion, EngineOptions, Sampling, Tokenizer, Usage, sequence_room
from synth.engines.loading import locate, needs_remote_code, remote_code_fault
from synth.engines.vllm.arguments import arguments_of, importing
from synth.engines.vllm.processes import (
    Watchdog,
    end_quietly,
    gist,
    last_error,
    new_log,
)
from synth.errors import RequestError, RunError, UsageError
from synth.quiet import debugging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class VllmEngine:
    """`AsyncLLM` behind the engine protocol."""

    name = "vllm"

    def __init__(
        self,
        llm: Any,
        tokenizer: Tokenizer,
        description: str,
        log: IO[str],
        watchdog: Watchdog,
        adapter: Any = None,
    ) -> None:
        self._llm = llm
        self._adapter = adapter
        self._log = log
        self._watchdog = watchdog
        self._tokenizer = tokenizer
        self._request = itertools.count()
        self.description = description
        self.usage = Usage()
        self.max_length: int = llm.model_config.max_model_len

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`. Sample i of n is drawn with seed + i, as vLLM does."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        room = sequence_room(len(token_ids), self.max_length, sampling.max_tokens)
        params = SamplingParams(
            n=sampling.n if sampling.temperature > 0 else 1,  # vLLM refuses several greedy samples: they are equal
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            seed=sampling.seed if sampling.temperature > 0 else None,
            max_tokens=room,
            stop=list(sampling.stop),
            stop_token_ids=list(sampling.stop_ids),
            ignore_eos=True,  # the chat format lists every end; vLLM adds none of its own
            logprobs=0 if sampling.logprob else None,
            detokenize=bool(sampling.stop),
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,  # made for this request alone
        )
        outputs = (await self._run(token_ids, params)).outputs
        self.usage.completion_tokens += sum(len(output.token_ids) for output in outputs)
        completions = [self._completion(output, sampling) for output in outputs]
        return completions if len(completions) == sampling.n else completions * sampling.n

    async def logprobs(self, token_ids: Sequence[int]) -> "NDArray[np.float32]":
        """Refused: vLLM would hold the logits of a whole prompt. `ChatModel.scorer` scores instead.

        Raises:
            UsageError: always.
        """
        raise UsageError("vLLM in process does not score given tokens: use `engine` transformers, or a server")

    async def _run(self, token_ids: Sequence[int], params: Any) -> Any:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        self.usage.requests += 1
        self.usage.prompt_tokens += len(token_ids)
        # "type" marks a prompt that is ready as it is: vLLM skips its tokenising thread pool
        prompt = {"type": "token", "prompt_token_ids": list(token_ids)}
        final = None
        try:
            async for output in self._llm.generate(
                prompt, params, f"r{next(self._request)}", lora_request=self._adapter
            ):
                final = output
        except EngineDeadError as error:
            raise RunError(
                f"vLLM's engine process died ({last_error(self._log)}). What was finished is kept; if it ran out of "
                "memory, lower `gpu_memory` or `concurrency`; then run this again (without `restart`)"
            ) from error
        except (ValueError, EngineGenerateError) as error:  # vLLM's refusals are ValueErrors
            raise RequestError(f"vLLM refused the request: {error}") from error
        if final is None:
            raise RequestError("vLLM returned nothing for the request")
        return final

    def _completion(self, output: Any, sampling: Sampling) -> Completion:
        ids = tuple(output.token_ids)
        logprob = None
        if sampling.logprob:
            logprob = sum(at[token].logprob for token, at in zip(ids, output.logprobs, strict=True))
        finish: Literal["stop", "length"] = "length" if output.finish_reason == "length" else "stop"
        if sampling.stop and isinstance(output.stop_reason, str):
            text = output.text
            ids = _ids_within(self._tokenizer, ids, text)
        else:
            if finish == "stop" and ids and ids[-1] in sampling.stop_ids:
                ids = ids[:-1]
            text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Completion(ids, text, finish, output.stop_reason, logprob)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._llm.shutdown()
        # Its destructor shuts down once more, and fails noisily if Python itself is being torn down by then.
        self._llm.shutdown = lambda *_: None
        self._watchdog.dismiss()
        self._log.close()


def _ids_within(tokenizer: Tokenizer, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
    """The longest run of leading tokens whose text lies before a stop string (`text` ends where it begins)."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        head = tokenizer.decode(ids[:middle], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        low, high = (middle, high) if len(head) <= len(text) else (low, middle - 1)
    return ids[:low]


async def open_vllm(model: str, tokenizer: Tokenizer, options: EngineOptions) -> VllmEngine:
    """Start vLLM for `model` (a local path or a Hub id).

    Raises:
        UsageError: vLLM is not installed, or it cannot run this model with these options.
    """
    log, watchdog = new_log(), Watchdog()
    with importing(log), watchdog.told():
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        on_cpu = current_platform.is_cpu()
        adapter = LoRARequest("adapter", 1, options.adapter) if options.adapter is not None else None
        try:
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments_of(locate(model), options, on_cpu=on_cpu)))
            await _add(adapter, llm)
        except Exception as error:
            if needs_remote_code(error):
                raise UsageError(remote_code_fault(model)) from error
            reason = last_error(log) if "Engine core" in str(error) else gist(str(error))
            raise UsageError(f"vLLM cannot run {model}: {reason} (`debug` shows all it says)") from error
    where = "CPU" if on_cpu else current_platform.get_device_name()
    dtype = str(llm.model_config.dtype).removeprefix("torch.")
    if not debugging():
        atexit.register(end_quietly)
    gc.freeze()  # vLLM's modules hold a million objects: walking them at a full collection takes half a second
    given = "".join(f", {name} {value}" for name, value in options.engine_args.items())
    description = f"vLLM {vllm.__version__} on {where}, {dtype}{given}{said_of(options.adapter)}"
    return VllmEngine(llm, tokenizer, description, log, watchdog, adapter)


async def _add(adapter: Any, llm: Any) -> None:
    """Load an adapter, if there is one, into a started engine, which is ended where that fails."""
    if adapter is None:
        return
    try:
        await llm.add_lora(adapter)
    except BaseException:  # also where it is cancelled: its processes hold the GPU's memory
        llm.shutdown()
        raise
