"""How many processes a run has, which of them this one is, and how Lightning finds the others.

They are started by SLURM's ``srun``, by ``torchrun``, or, on one machine, by Lightning, which runs the command line
again for each process but the first once training begins.
"""

from __future__ import annotations

__all__ = ["ONE_PROCESS", "Processes"]

import os
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from astrofm.callbacks import WholeFiles
from astrofm.errors import UsageError

FIRST = "ASTROFM_FIRST_PROCESS"
"""Variable in which the first process of a machine tells the others its number."""
LOOK_EVERY_S = 1.0
"""Time from one look at the process that started this one to the next."""
LONGEST_WAIT = timedelta(hours=2)
"""Time after which a process that waits for another gives up: longer than any probe, which only the first one runs."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, one for each device.

    Attributes:
        devices: Devices of one machine.
        num_nodes: Machines.
        is_sharded: Whether they divide weights and optimiser among them, see :mod:`astrofm.sharding`.
    """

    devices: int = 1
    num_nodes: int = 1
    is_sharded: bool = False

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.devices * self.num_nodes

    @property
    def rank(self) -> int:
        """Number of this process among all; the first is 0 and writes the run."""
        environment = self._environment()
        if environment is None:
            return 0
        if isinstance(environment, LightningEnvironment):
            return environment.node_rank() * self.devices + environment.local_rank()
        return environment.global_rank()

    def check(self) -> None:
        """Refuse a number of processes that is not the one that was started, and one that has nothing to divide.

        Raises:
            UsageError: If it differs, or one process is to be sharded.
        """
        if self.is_sharded and self.world_size == 1:
            raise UsageError("--sharded divides a network among several processes: give --devices or --num-nodes too")
        environment = self._environment()
        started = self.world_size if isinstance(environment, LightningEnvironment | None) else environment.world_size()
        if started != self.world_size:
            raise UsageError(
                f"--devices {self.devices} --num-nodes {self.num_nodes} asks for {self.world_size} processes, and "
                f"{started} were started: give the devices and machines of the job"
            )

    def end_with_the_first(self) -> None:
        """Let this process end when the one that started it does, however it ends.

        Killed, that one cannot end the others, and on a GPU they would wait for it for hours.
        """
        environment = self._environment()
        if not isinstance(environment, LightningEnvironment):
            return
        if environment.local_rank() == 0:
            os.environ[FIRST] = str(os.getpid())  # it may be gone before the others have begun to watch it
        else:
            parent = int(os.environ.get(FIRST, os.getppid()))
            threading.Thread(target=_end_without, args=(parent,), daemon=True).start()

    def device_of(self, device: str) -> str:
        """Return the device of this process: on several GPUs each has its own."""
        environment = self._environment()
        return device if environment is None or device != "cuda" else f"cuda:{environment.local_rank()}"

    def trainer_options(self, device: str) -> dict[str, Any]:
        """Return what Lightning's trainer needs to know of them."""
        plugins: list[Any] = [WholeFiles()]
        options: dict[str, Any] = {"devices": self.devices, "num_nodes": self.num_nodes, "plugins": plugins}
        environment = self._environment()
        if environment is None:
            # Else one process of a SLURM job would be requeued by Lightning, from a state of its own.
            plugins.append(LightningEnvironment())
            return options
        backend = "nccl" if device == "cuda" else "gloo"
        if self.is_sharded:
            plugins.append(environment)
            sharded = ModelParallelStrategy(
                data_parallel_size=self.world_size,
                tensor_parallel_size=1,
                save_distributed_checkpoint=False,  # one file of whole weights, which transfer and replay can read
                process_group_backend=backend,
                timeout=LONGEST_WAIT,
            )
            return {**options, "strategy": sharded}
        strategy = DDPStrategy(
            cluster_environment=environment,
            process_group_backend=backend,
            timeout=LONGEST_WAIT,
            broadcast_buffers=False,  # they are the same on all: batch norm is synchronised, and so are queues
            # A parameter that a step leaves out must not let the others wait; and the order in which gradients are
            # added up then is that of the first step in all steps, so that a continued run has the same bits.
            find_unused_parameters=True,
        )
        return {**options, "strategy": strategy}

    def _environment(self) -> ClusterEnvironment | None:
        """Return who started the processes; None where there is only this one."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and TorchElasticEnvironment.detect():
            return TorchElasticEnvironment()
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            return SLURMEnvironment(auto_requeue=False)  # a run saves its state after SIGTERM by itself
        return LightningEnvironment() if self.world_size > 1 else None


def _end_without(parent: int) -> None:
    """Wait until a process is this one's parent no more, and end this one."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)


ONE_PROCESS = Processes()
