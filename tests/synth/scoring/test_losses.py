import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from synth.scoring import losses as loss
from synth.values import Divergence


@pytest.mark.parametrize("kind", ["kl", "reverse-kl", "js"])
def test_divergences_are_those_of_torch(kind: Divergence) -> None:
    torch.manual_seed(1)
    before, now = (torch.randn(23, 50) for _ in range(2))
    left, right = log_softmax(before, -1), log_softmax(now, -1)

    def apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return kl_div(other, one, reduction="none", log_target=True).sum(-1)

    mean = ((left.exp() + right.exp()) / 2).log()
    expected = {
        "kl": apart(left, right),
        "reverse-kl": apart(right, left),
        "js": (apart(left, mean) + apart(right, mean)) / 2,
    }
    torch.testing.assert_close(loss.divergences(before, now, kind), expected[kind], atol=2e-6, rtol=0)


def test_half_precision_is_summed_in_full() -> None:
    logits = torch.randn(5, 50).bfloat16()
    found = loss.token_losses(logits, torch.arange(5))
    assert found.dtype == torch.float32
    assert torch.allclose(found, -log_softmax(logits.float(), -1)[torch.arange(5), torch.arange(5)])
