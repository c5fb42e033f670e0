"""Losses weighted token by token are those of LLaMA-Factory, whose functions are run here."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from synth.data.row import IGNORED
from synth.scoring.losses import token_losses
from synth.scoring.token_weights import TokenWeights

THEIRS = Path(sys.prefix, "trainers", "llamafactory", "train", "trainer_utils.py")
NAMES = ("dft_loss_func", "_dft_cross_entropy", "eaft_loss_func", "_eaft_cross_entropy")


@pytest.fixture(scope="module")
def theirs() -> dict[str, Callable[..., torch.Tensor]]:
    """LLaMA-Factory's loss functions, without the imports of their module, which need another release of TRL."""
    if not THEIRS.is_file():
        pytest.skip("LLaMA-Factory is not installed: tests/run.sh does it")
    functions = [node for node in ast.parse(THEIRS.read_text()).body if getattr(node, "name", None) in NAMES]
    assert len(functions) == len(NAMES)
    namespace: dict[str, Any] = {"torch": torch, "Optional": Optional}
    exec(compile(ast.Module(functions, []), str(THEIRS), "exec"), namespace)
    return namespace


def rows(vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of two rows, from flat to certain of one token, and labels, a third of them without loss."""
    torch.manual_seed(3)
    logits = torch.randn(2, 40, vocabulary) * torch.logspace(-1, 2, 40)[None, :, None]
    labels = torch.randint(0, vocabulary, (2, 40))
    labels[torch.rand(2, 40) < 0.3] = IGNORED
    return logits.to(dtype).requires_grad_(), labels


@pytest.mark.parametrize(("loss", "alpha"), [("dft", 1.0), ("eaft", 1.0), ("eaft", 0.5), ("eaft", 2.0), ("eaft", 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_to_llama_factory(
    theirs: dict[str, Callable[..., torch.Tensor]], loss: Any, alpha: float, dtype: torch.dtype
) -> None:
    logits, labels = rows(300, dtype)
    count = (labels[:, 1:] != IGNORED).sum()
    settings = {"alpha": alpha} if loss == "eaft" else {}
    expected = theirs[f"{loss}_loss_func"]({"logits": logits}, labels, count, **settings)
    [their_gradient] = torch.autograd.grad(expected, logits)

    chosen = labels[:, 1:] != IGNORED
    ours, targets = logits[:, :-1][chosen], labels[:, 1:][chosen]
    losses = token_losses(ours, targets)
    found = (losses * TokenWeights(loss, alpha).of(ours, losses)).sum() / len(targets)
    [our_gradient] = torch.autograd.grad(found, logits)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-6)


def test_what_the_model_is_sure_of_counts_little_and_plain_training_is_unchanged() -> None:
    sure, open_minded = torch.zeros(30), torch.zeros(30)
    sure[4] = 20.0
    logits = torch.stack([sure, sure, open_minded])
    losses = token_losses(logits, torch.tensor([4, 9, 9]))
    assert TokenWeights().of(logits, losses).tolist() == [1, 1, 1]
    right, wrong, unknown = TokenWeights("dft").of(logits, losses).tolist()
    assert right > 0.999 and wrong < 1e-8 and unknown == pytest.approx(1 / 30)
    right, wrong, unknown = TokenWeights("eaft").of(logits, losses).tolist()
    assert right == wrong < 1e-6 and unknown == pytest.approx(torch.tensor(20).log().item() / 3)
    few = TokenWeights("eaft").of(torch.zeros(1, 4), torch.zeros(1))  # a vocabulary of fewer than twenty
    assert few.item() == pytest.approx(torch.tensor(4).log().item() / 3)
