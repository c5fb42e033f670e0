"""What is told of vLLM's errors, whose messages may be a page long."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.config import CacheConfig, SchedulerConfig

from synth.engines.vllm.processes import gist, last_error


def scheduler(**more: Any) -> Any:
    return SchedulerConfig(max_model_len=64, is_encoder_decoder=False, **more)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: CacheConfig(gpu_memory_utilization=2), "gpu_memory_utilization: Input should be less than or equal to 1"),
    (
        lambda: scheduler(max_num_seqs=0, policy="best"),
        "max_num_seqs: Input should be greater than or equal to 1; policy: Input should be 'fcfs' or 'priority'",
    ),
    (  # of two settings together: pydantic names none
        lambda: scheduler(max_num_seqs=20, max_num_batched_tokens=10),
        "Value error, max_num_batched_tokens (10) must be greater than or equal to max_num_seqs (20).",
    ),
]


@pytest.mark.parametrize(("make", "told"), REFUSED)
def test_an_argument_that_vllm_refuses(make: Callable[[], Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refused:
        make()
    assert gist(str(refused.value)) == told
    # So vLLM's own processes write it.
    logged = f"Traceback (most recent call last):\npydantic_core.ValidationError: {refused.value}".splitlines()
    with (tmp_path / "log").open("w+") as log:
        log.writelines(f"(EngineCore pid=81) ERROR 11-27 20:08:19 [core.py:1034] {line}\n" for line in logged)
        assert last_error(log) == told


def test_other_messages(tmp_path: Path) -> None:
    assert gist("\n no room \nfor it") == "no room" and gist(" \n") == "no message" and len(gist("x" * 999)) == 300
    with (tmp_path / "log").open("w+") as log:
        assert last_error(log) == "it left no message"
        log.write("(EngineCore pid=8) ERROR 11-27 20:08:19 [core.py:10] ValueError: no [cache] blocks\nbye\n")
        assert last_error(log) == "ValueError: no [cache] blocks"
