"""The ranks' world: this rank, its device, its process group, and the outcomes of the others."""

# torch's own types are incomplete, and don't export these names, though torch's manual documents them.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import datetime
import gc
import os

import torch
import torch.distributed as dist

from accel_cli.trial.record import BROKEN, Wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 60.0  # seconds for one collective; a working one takes less
FAREWELL = 5.0  # seconds
TRUE = ("1", "true", "yes", "on", "y")


def switched_on(variable: str) -> bool:
    """Whether a variable is set to true."""
    return os.environ.get(variable, "").lower() in TRUE


class World:
    """This rank among the others."""

    def __init__(self) -> None:
        """Read this rank's place from the environment, without connecting to the others."""
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) == self.size
        self.device = torch.device("cpu")
        self._votes: Any = None

    def take_device(self) -> str:
        """Choose this rank's device and compute on it; return its name.

        Raises:
            Wrong: there is no device for this rank, or its results are wrong.
        """
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if found is not None and not switched_on("ACCELERATE_USE_CPU"):
            count = torch.accelerator.device_count()
            if self.local_rank >= count:
                raise Wrong(f"local rank {self.local_rank} has no device: torch sees {count} ({found.type})")
            torch.accelerator.set_device_index(self.local_rank)
            self.device = torch.device(found.type, self.local_rank)
        square = torch.arange(16.0, device=self.device).reshape(4, 4)
        if not torch.equal((square @ torch.eye(4, device=self.device)).cpu(), square.cpu()):
            raise Wrong(f"{self.device} returns a wrong product of two matrices")
        return self.name

    @property
    def name(self) -> str:
        """The device's name."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return str(self.device)

    @property
    def place(self) -> str:
        """What tells this rank's device from those of others of its machine; empty on the CPU."""
        if self.device.type == "cpu":
            return ""
        facts = torch.cuda.get_device_properties(self.device) if self.device.type == "cuda" else None
        return f"{self.device} {getattr(facts, 'uuid', '')} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}"

    @property
    def devices(self) -> list[torch.device]:
        """The devices of the collectives."""
        return [self.device] if self.device.type == "cpu" else [self.device, torch.device("cpu")]

    def connect(self) -> str:
        """Connect to the other ranks; return the backends."""
        patience = datetime.timedelta(seconds=PATIENCE)
        store: Any
        if "MASTER_ADDR" in os.environ:
            store, _rank, _size = next(iter(dist.rendezvous("env://", timeout=patience)))
        else:
            # One process, started without torchrun's variables. Windows' torch lacks the first.
            alone = getattr(dist, "HashStore", None)
            store = alone() if alone is not None else dist.TCPStore("localhost", 0, 1, True)
        self._votes = dist.PrefixStore("votes", store)
        kind = self.device.type
        backend = "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{dist.get_default_backend_for_device(kind)}"
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("group", store),
            rank=self.rank,
            world_size=self.size,
            timeout=patience,
        )
        return f"{backend}, {self.size} {'rank' if self.size == 1 else 'ranks'}"

    def leave(self, *, in_step: bool) -> None:
        """Disconnect from the others; rank 0 holds the store for their votes and leaves last."""
        if in_step:
            gc.collect()  # a model of DDP that outlives its group may abort the process
            dist.destroy_process_group()
        self._votes.set(f"left/{self.rank}", "")
        if self.rank == 0:
            with contextlib.suppress(Exception):  # a rank that is gone needs no store
                self._votes.wait([f"left/{rank}" for rank in range(self.size)], datetime.timedelta(seconds=FAREWELL))

    def vote(self, name: str, state: str, detail: str) -> dict[int, tuple[str, str]]:
        """Publish our outcome of a check in the store and return everyone's; a collective could be what fails."""
        self._votes.set(f"{name}/{self.rank}", f"{state} {detail}")
        votes: dict[int, tuple[str, str]] = {}
        for rank in range(self.size):
            try:
                # A rank may wait in a collective that another has left, for as long as a collective can take.
                self._votes.wait([f"{name}/{rank}"], datetime.timedelta(seconds=PATIENCE + 10))
                how, _space, text = self._votes.get(f"{name}/{rank}").decode().partition(" ")
            except Exception as error:  # torch has several kinds
                how, text = BROKEN, f"it never finished this check ({type(error).__name__})"
            votes[rank] = how, text
        return votes
