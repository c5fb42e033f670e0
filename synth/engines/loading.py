"""The only module that reads a model's files: configuration, tokenizer and weights.

It decides two things. Code that comes with a model runs only if the user allowed it (`remote_code`); nothing is asked
on the terminal. And a model whose attention torch does not compute correctly, such as Gemma 2's capped scores, gets the
eager implementation of transformers (`attention_of`). Errors are reported in one line.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.data.store.address import is_address, shown
from synth.data.store.folder import fetched
from synth.errors import UsageError
from synth.nearest import path_hint
from synth.quiet import quiet_libraries
from synth.values import LARGEST_WINDOW

LARGEST_ID = 1 << 24
"""Of a token; vocabularies have a million at most."""
_HUB = re.compile(r"hf://([\w.-]{1,96}/[\w.-]{1,96})/?")
_MARKS = ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json")
"""Files of a model, or of a tokenizer alone; the last of sentence-transformers."""
_OF_A_TRAINING = ("checkpoints", "reference", "fresh")
"""Folders that a training keeps beside its model while it goes on."""
_BEYOND_SDPA = re.compile(r"att(entio)?n_.*cap.*|(use_)?alibi")
"""Names of settings that cap attention scores (`attn_logit_softcapping` and its like), or that bias them by distance,
which Falcon's own use of torch's attention gets wrong."""


@dataclass(slots=True)
class _Permission:
    given: bool = False


_remote_code = _Permission()
"""Shared by the process, as models are also loaded in other threads."""


@contextmanager
def remote_code(*, allowed: bool) -> Iterator[None]:
    """Whether models may run code that comes with them (by default not), until the block ends."""
    before, _remote_code.given = _remote_code.given, allowed
    try:
        yield
    finally:
        _remote_code.given = before


def remote_code_allowed() -> bool:
    """Whether the user allows code that comes with a model to run; passed on to other libraries that load models."""
    return _remote_code.given


def needs_remote_code(error: BaseException) -> bool:
    """Whether a library refused a model because code that comes with it would have to run."""
    return "trust_remote_code" in str(error) and not _remote_code.given


def remote_code_fault(model: str) -> str:
    """The message about a model that needs its own code."""
    return f"{model} comes with code of its own, not run unless you give `trust_remote_code`"


def locate(model: str) -> str:
    """The directory of a model as transformers takes it, or its id on the Hub.

    One in a store (`s3://bucket/model`) is fetched, once; `hf://USER/NAME` is an id of the Hub.

    Raises:
        UsageError: it is the path, or the address, of something that is not there, or of a file.
        RunError: there is no room for one that is in a store.
    """
    if (hub := _HUB.fullmatch(model)) is not None:
        return hub[1]
    if model.startswith("hf://"):
        raise UsageError(f"`model` {shown(model)}: a model of the Hub is named hf://USER/NAME")
    if is_address(model):
        return str(fetched(model, "`model`", _MARKS, _OF_A_TRAINING))
    path = Path(os.path.expanduser(model))
    try:
        if path.is_dir():
            return str(path)
        if path.exists():
            fault = "this is a file; give the model's directory"
        elif model.startswith((".", "/")) or not re.fullmatch(r"[\w.-]{1,96}(/[\w.-]{1,96})?", model):
            fault = f"no such directory{path_hint(path, Path.is_dir)}"
        else:
            return model
    except (OSError, ValueError):  # too long a name, or an impossible one
        fault = "no such directory"
    raise UsageError(f"`model` {model[:200]}: {fault}")


def load_config(model: str) -> Any:
    """The configuration of a model directory or Hub id.

    Raises:
        UsageError: there is none, it cannot be read, or it needs code that may not run.
    """
    from transformers import AutoConfig

    place = locate(model)
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        raise UsageError(f"{model} is not a model: it has no config.json")
    with reading(model, f"{model} is not a model that can be read"):
        config = AutoConfig.from_pretrained(place, trust_remote_code=_remote_code.given)
        config.get_text_config()  # damaged files fail here
        # A configuration may name an attention kernel to download and run: this is not honoured.
        config._attn_implementation = attention_of(config)
    window_of(config)
    layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if not isinstance(layers, int) or layers < 1:
        raise UsageError(f"{model} is not a model that can be read: its config.json names {str(layers)[:80]} layers")
    return config


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model directory or Hub id.

    Raises:
        UsageError: there is no such model, it has no tokenizer that can be read, or needs code that may not run.
    """
    from transformers import AutoTokenizer

    place = locate(model)
    fault = f"`model` {model}: neither a directory here nor a model on the Hub"
    if Path(place).is_dir():
        fault = f"`model` {model}: no tokenizer can be read from this directory"
        if not any((Path(place) / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
            fault += ": it holds no tokenizer.json"
    with reading(model, fault):
        _refuse_huge_ids(Path(place) / "tokenizer.json")
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=_remote_code.given)
        limit = tokenizer.model_max_length
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= LARGEST_WINDOW:
            tokenizer.model_max_length = int(1e30)  # the value of transformers where no limit is known
        tokenizer.encode("a")  # damaged files fail here
    return tokenizer


def _refuse_huge_ids(file: Path) -> None:
    """Refuse a vocabulary with an absurd id: copying a tokenizer allocates memory for all ids up to the largest.

    Raises:
        UsageError: an id is larger than that of any token.
        OSError, ValueError: the file cannot be read.
    """
    if not file.is_file():
        return
    known = json.loads(file.read_text(encoding="utf-8"))
    model = known.get("model") if isinstance(known, dict) else None
    ids = model.get("vocab") if isinstance(model, dict) else None
    for token, number in ids.items() if isinstance(ids, dict) else ():
        if isinstance(number, int) and number > LARGEST_ID:
            raise UsageError(f"{file} is damaged: it gives {token!r} the id {number:,}, which no vocabulary has")


def load_end_ids(model: str) -> tuple[int, ...]:
    """The end-of-sequence ids of a model's generation config; none where it has no such file.

    Raises:
        UsageError: the file cannot be read.
    """
    return _generation_ids(model, "eos_token_id")


def load_begin_id(model: str) -> int | None:
    """The beginning-of-sequence id of a model's generation config; None where it names none, or has no such file.

    Raises:
        UsageError: the file cannot be read.
    """
    return next(iter(_generation_ids(model, "bos_token_id")), None)


def _generation_ids(model: str, name: str) -> tuple[int, ...]:
    """The tokens that a model's generation config has under a name; none where it has no such file.

    Raises:
        UsageError: the file cannot be read.
    """
    from transformers import GenerationConfig

    place = locate(model)
    file = Path(place) / "generation_config.json"
    if Path(place).is_dir() and not file.exists():
        return ()
    fault = f"{file} cannot be read"
    try:
        with reading(model, fault):
            ids = getattr(GenerationConfig.from_pretrained(place), name)
    except UsageError as error:
        if not Path(place).is_dir() and isinstance(error.__cause__, OSError):  # the Hub has no such file
            return ()
        raise
    tokens = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in tokens):
        raise UsageError(f"{fault}: {name} is {str(ids)[:80]!r}, not the ids of tokens")
    return tuple(tokens)


def load_causal_model(model: str, dtype: Any, *, in_4_bits_on: Any = None) -> Any:
    """A causal language model in eval mode, on the CPU.

    Args:
        model: a directory or a Hub id.
        dtype: of torch, or "auto" for the model's own.
        in_4_bits_on: a device that it is read to instead, the matrices of its layers in 4 bits (bitsandbytes).

    Raises:
        UsageError: it cannot be read, is no causal language model, or needs code that may not run.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    fault = f"cannot load {model} as a causal language model"
    if in_4_bits_on is None:
        return _weights(AutoModelForCausalLM, model, dtype, fault)
    in_4_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return _weights(
        AutoModelForCausalLM, model, dtype, fault, quantization_config=in_4_bits, device_map={"": in_4_bits_on}
    )


def load_classifier(model: str, dtype: Any) -> Any:
    """A sequence classifier in eval mode, on the CPU; arguments and errors are those of `load_causal_model`."""
    from transformers import AutoModelForSequenceClassification

    return _weights(AutoModelForSequenceClassification, model, dtype, f"cannot load {model} as a classifier")


def load_sentence_transformer(library: Any, model: str, device: str) -> Any:
    """A model of sentence-transformers (`library`), on a device.

    Raises:
        UsageError: it cannot be found or read, or needs code that may not run.
    """
    with reading(model, f"cannot load {model} with sentence-transformers"):
        return library.SentenceTransformer(_fetched(model), device=device, trust_remote_code=_remote_code.given)


def load_static_model(library: Any, model: str) -> Any:
    """A model of model2vec (`library`), whose models have no code of their own.

    Raises:
        UsageError: it cannot be found or read.
    """
    with reading(model, f"cannot load {model} with model2vec"):
        return library.StaticModel.from_pretrained(_fetched(model))


def _fetched(model: str) -> str:
    """A model of another library, which knows names of its own, on this machine where it is in a store."""
    return locate(model) if is_address(model) else model


def outline(model: str) -> Any:
    """A causal language model without its weights, on torch's `meta` device, to learn its parameters and their sizes.

    Raises:
        UsageError: as for `load_causal_model`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(model)
    with reading(model, f"cannot load {model} as a causal language model"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=_remote_code.given)


def attention_of(config: Any) -> str | None:
    """The attention that a configuration needs: "eager" where scores are capped or biased, else None for the default.

    torch's own attention cannot cap scores and silently leaves that out; flash kernels may not be installed.
    Models with other features that it lacks (sinks, biases) declare in transformers that they do not support it.
    """
    settings = config.get_text_config().to_dict()
    return "eager" if any(_BEYOND_SDPA.fullmatch(name) and value for name, value in settings.items()) else None


def own_attention(model: Any) -> str:
    """The attention that a model of transformers was loaded with, whatever it has been given since."""
    return attention_of(model.config) or ("sdpa" if model._supports_sdpa else "eager")


def window_of(config: Any) -> int | None:
    """Tokens that a model's window holds; None where it names none.

    Raises:
        UsageError: what it names is no such number.
    """
    window = getattr(config.get_text_config(), "max_position_embeddings", None)
    if window is None:
        return None
    if isinstance(window, bool) or not isinstance(window, int) or not 2 <= window <= LARGEST_WINDOW:
        raise UsageError(
            f"the model's config.json names a window of {str(window)[:80]} tokens (max_position_embeddings)"
        )
    return window


def _weights(kind: Any, model: str, dtype: Any, fault: str, **others: Any) -> Any:
    config = load_config(model)
    with reading(model, fault):
        loaded, report = kind.from_pretrained(
            locate(model),
            config=config,
            dtype=dtype,
            attn_implementation=attention_of(config),
            trust_remote_code=_remote_code.given,
            output_loading_info=True,
            **others,
        )
    if missing := sorted(report["missing_keys"]):  # transformers would use random numbers in their place
        raise UsageError(f"{fault}: {len(missing)} of its weights are in none of its files, {missing[0]} among them")
    if is_address(model):  # what is saved of it names where it came from, not where it was kept meanwhile
        loaded.name_or_path = loaded.config._name_or_path = shown(model)
    return loaded.eval()


@contextmanager
def reading(model: str, fault: str) -> Iterator[None]:
    """Report in one line why a model cannot be read. Its files are untrusted and may make libraries raise anything."""
    try:
        with quiet_libraries():
            yield
    except UsageError:
        raise
    except Exception as error:
        if needs_remote_code(error):
            raise UsageError(remote_code_fault(model)) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1]) or type(error).__name__
        if isinstance(error, KeyError | AttributeError | TypeError):  # their messages alone are unclear
            reason = f"{type(error).__name__}: {reason}"
        near = (
            "" if is_address(model) or Path(os.path.expanduser(model)).is_dir() else path_hint(Path(model), Path.is_dir)
        )
        raise UsageError(fault + (near or f": {reason[:300]}")) from error
