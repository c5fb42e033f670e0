"""`synth …` in two processes with the model shared among them (FSDP), on a CPU.

accelerate shards on accelerators only, and takes processes on a CPU for plain data parallelism. Here it is told that
gloo is an accelerator's backend; everything after that is as on GPUs.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from cli.main import main
from tests.cli.running import Command


def on_cpu(state: Any) -> None:
    state.device = torch.device("cpu")


def shared(arguments: list[str]) -> None:
    """One of the processes, where torchrun's variables say which."""
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
    }
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = on_cpu
    main(arguments)


@contextmanager
def launched(*arguments: object, **variables: object) -> Iterator[list[Command]]:
    """Two processes that share a model, with the variables that torchrun would set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables |= {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with ExitStack() as stack:
        each = [variables | {"RANK": n, "LOCAL_RANK": n} for n in range(2)]
        commands = [Command(*arguments, program=shared, variables=own) for own in each]
        yield [stack.enter_context(command) for command in commands]
