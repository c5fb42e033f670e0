import torch
from pytest import MonkeyPatch
from torch.nn.functional import kl_div, log_softmax

from synth.scoring import losses as loss


def test_chunks_change_nothing(monkeypatch: MonkeyPatch) -> None:
    torch.manual_seed(1)
    logits, reference = torch.randn(23, 50, requires_grad=True), torch.randn(23, 50)
    targets = torch.randint(0, 50, (23,))

    def both() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        losses, apart = loss.token_losses(logits, targets), loss.divergences(reference, logits)
        [gradient] = torch.autograd.grad(losses.sum() + 2 * apart.sum(), logits)
        return losses, apart, gradient

    whole = both()
    monkeypatch.setattr(loss, "_AT_ONCE", 200)  # four rows at once
    for found, wanted in zip(both(), whole, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    logs = log_softmax(logits, -1)
    assert torch.allclose(whole[0], -logs[torch.arange(23), targets])
    expected = kl_div(logs, log_softmax(reference, -1), reduction="none", log_target=True).sum(-1)
    assert torch.allclose(whole[1], expected, atol=1e-5)


def test_half_precision_is_summed_in_full() -> None:
    logits = torch.randn(5, 50).bfloat16()
    found = loss.token_losses(logits, torch.arange(5))
    assert found.dtype == torch.float32
    assert torch.allclose(found, -log_softmax(logits.float(), -1)[torch.arange(5), torch.arange(5)])
