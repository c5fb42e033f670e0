"""`synth …` in the processes of torchrun, with the model shared among them (FSDP), on a CPU.

accelerate shards on accelerators only, and takes processes on a CPU for plain data parallelism. Here it is told that
gloo is an accelerator's backend; everything after that is as on GPUs.
"""

import os
import sys
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from cli.main import main


def on_cpu(state: Any) -> None:
    state.device = torch.device("cpu")


if __name__ == "__main__":
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
    }
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = on_cpu
    main(sys.argv[1:])
