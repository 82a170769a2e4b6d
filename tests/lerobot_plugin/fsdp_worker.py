"""lerobot-train as one of several processes that shard a model, on CPUs: started by test_several_processes.

accelerate shards on GPUs alone, so that it is told here that these are some; what it then does is its own code and
torch's. Two more things differ on CPUs: weights cannot be handed from one process to the other through a GPU (all read
the same file), and what is "offloaded to the CPU" lies there already, in memory that torch frees: it is copied.
"""

import os
import sys
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from lerobot.scripts import lerobot_train
from torch.distributed import fsdp
from torch.utils._pytree import tree_map_only

from inspire_vla.lerobot_plugin.training import train


def pretend_gpus() -> None:
    os.environ["FSDP_SYNC_MODULE_STATES"] = "false"
    begin, full, gather = (
        Accelerator.__init__,
        fsdp.FullStateDictConfig,
        lerobot_train.gather_fsdp_state_dicts,
    )
    Accelerator.__init__ = lambda self, *_, **options: begin(self, **options | {"cpu": False})
    PartialState._prepare_backend = lambda self, *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    fsdp.FullStateDictConfig = lambda **options: full(**options | {"offload_to_cpu": False})

    def copied(model: Any, optimizer: Any) -> tuple[dict, dict]:
        assert any(isinstance(m, fsdp.FullyShardedDataParallel) for m in model.modules() if m is not model)
        return tuple(tree_map_only(torch.Tensor, torch.clone, found) for found in gather(model, optimizer))

    lerobot_train.gather_fsdp_state_dicts = copied


if __name__ == "__main__":
    pretend_gpus()
    train(sys.argv[1:], frames_in_memory=False)
