"""How the scripts that tests launch on several ranks end."""

import torch.distributed as dist


def leave_together() -> None:
    """Wait for all ranks, then close the process group while its threads still run.

    Left to the interpreter's exit, a rank is now and then aborted in the backend's destructor, after its work is done
    and saved.
    """
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
