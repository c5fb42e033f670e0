"""Embeddings: texts as vectors, with similar texts near each other.

The model at hand gives them without further libraries: the mean of its last hidden states over a text's tokens. A
model trained for it (sentence-transformers, model2vec) is better, where the user names one.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.engines.base import EngineOptions
from synth.engines.length_batches import LengthBatches
from synth.errors import RunError, UsageError

Vectors = NDArray[np.float32]
"""One row a text, shape `[texts, width]`."""

Embedder = Callable[[Sequence[str]], Vectors]
"""Vectors of unit length for texts: their products are cosines."""

BATCH_TOKENS = 8_192
"""Tokens of one forward pass, padding included, at most (a longer sequence goes alone)."""


def open_embedder(name: str, options: EngineOptions) -> Embedder:
    """Load an embedder.

    Args:
        name: `sentence-transformers:MODEL`, `model2vec:MODEL`, or a causal language model (a directory, or an id on
            the Hub), whose hidden states are taken.
        options: `dtype`, `device` and `max_length` (tokens; a longer text is cut there) are read here.

    Raises:
        UsageError: there is no such model, or its library is not installed.
    """
    library, colon, model = name.partition(":")
    if colon and library in _LIBRARIES:
        return _LIBRARIES[library](model, options)
    return _language_model(name, options)


def check_embedder(name: str) -> None:
    """Check an embedder without loading its model, before other work begins.

    Raises:
        UsageError: its library is not installed, or there is no such language model.
    """
    library, colon, _ = name.partition(":")
    if colon and library in _LIBRARIES:
        _imported(library)
        return
    from synth.engines.loading import load_tokenizer

    load_tokenizer(name)


def state_embedder(model: Any, tokenizer: Any, longest: int) -> Embedder:
    """An embedder of a causal language model's hidden states (`mean_states`).

    Args:
        model: of transformers, in eval mode.
        tokenizer: of the model.
        longest: tokens of a text; a longer one is cut there.
    """

    def embed(texts: Sequence[str]) -> Vectors:
        # Without special tokens' ids the texts alone decide; an empty one still needs a token to have a state.
        ids = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
        return unit(mean_states(model, [tokens[:longest] or [0] for tokens in ids]))

    return embed


def mean_states(model: Any, sequences: Sequence[Sequence[int]]) -> Vectors:
    """The mean of a causal language model's last hidden states over each sequence, in the order given.

    Sequences of similar length go through the model's body together, padded on the right, where causal attention never
    looks: a vector does not depend on what else is in its batch, rounding aside.

    Args:
        model: of transformers, in eval mode.
        sequences: token ids, at least one a sequence, none longer than the model's window.

    Returns:
        Float32, shape `[sequences, hidden size]`.

    Raises:
        RunError: one sequence does not fit in memory, or the model's outputs are not numbers.
    """
    import torch

    def forward(batch: list[int]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return list(_batch_means(model, [sequences[index] for index in batch]))

    width: int = model.config.get_text_config().hidden_size
    rows = LengthBatches(BATCH_TOKENS).run([len(tokens) for tokens in sequences], forward)
    means = np.array(rows, np.float32).reshape(-1, width)
    if not np.isfinite(means).all():
        raise RunError("the model is broken: its hidden states are not numbers (NaN)")
    return means


def unit(vectors: Vectors) -> Vectors:
    """The vectors at length 1; one that is zero stays so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.where(lengths > 0, lengths, 1)
    return scaled


def _batch_means(model: Any, batch: list[Sequence[int]]) -> Vectors:
    """Mean states of sequences in one forward pass."""
    import torch

    shape = len(batch), max(map(len, batch))
    ids, inside = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        inside[row, : len(tokens)] = 1 / len(tokens)
    states = _states(model, torch.from_numpy(ids).to(model.device))
    weights = torch.from_numpy(inside).to(model.device)
    # Summed in float32: half precision loses digits over a long text.
    means: Vectors = torch.einsum("btw,bt->bw", states.float(), weights).cpu().numpy()
    return means


def _states(model: Any, ids: Any) -> Any:
    """Last hidden states `[rows, columns, width]`: of the body alone where there is one, so that no logits are made."""
    body = getattr(model, model.base_model_prefix, None)
    if body is not None:
        return body(input_ids=ids, use_cache=False).last_hidden_state
    return model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1]


def _language_model(name: str, options: EngineOptions) -> Embedder:
    from synth.engines.hf.engine import load_model, window
    from synth.engines.loading import load_tokenizer

    model = load_model(name, options)
    return state_embedder(model, load_tokenizer(name), window(model, options.max_length))


def _sentence_transformer(name: str, options: EngineOptions) -> Embedder:
    library = _imported("sentence-transformers")
    from synth.engines.device import pick_device
    from synth.engines.loading import load_sentence_transformer

    model = load_sentence_transformer(library, name, str(pick_device(options.device)))
    if options.max_length is not None:
        model.max_seq_length = options.max_length
    return lambda texts: unit(np.asarray(model.encode(list(texts), show_progress_bar=False), np.float32))


def _static_model(name: str, _: EngineOptions) -> Embedder:
    from synth.engines.loading import load_static_model

    model = load_static_model(_imported("model2vec"), name)
    return lambda texts: unit(np.asarray(model.encode(list(texts)), np.float32))


def _imported(library: str) -> Any:
    """Import an optional library."""
    try:
        return import_module(library.replace("-", "_"))
    except ImportError as error:
        raise UsageError(f"{library} is not installed: pip install {library}") from error


_LIBRARIES = {"sentence-transformers": _sentence_transformer, "model2vec": _static_model}
