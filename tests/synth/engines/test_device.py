"""How much memory a model's key-value cache may take."""

import pytest
import torch

from synth.engines.device import cache_memory

GIB = 2**30


def test_with_a_share_of_a_gpu_nothing_depends_on_what_is_free_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for free in (70, 20, 5):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free * GIB, 80 * GIB))
        found.append([cache_memory(torch.device("cuda"), share, 4 * GIB) / GIB for share in (0.3, 0.01, None)])
    shared, too_small, rest = zip(*found, strict=True)
    assert shared == pytest.approx([16, 16, 16], abs=1e-6)  # 4/5 of what 4 GiB of weights leave of 24
    assert too_small == (0, 0, 0)
    assert rest == pytest.approx([0.8 * 62, 0.8 * 12, 0], abs=1e-6)
