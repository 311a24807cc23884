"""The ranks' world: who we are, on which device, in which process group, and what the others say."""

# torch's own types are incomplete, and it doesn't say that these names are public, though its manual does.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import datetime
import gc
import os

import torch
import torch.distributed as dist

from .record import BROKEN, Wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 60.0  # seconds for one collective; longer than any takes that works
FAREWELL = 5.0  # seconds
TRUE = ("1", "true", "yes", "on", "y")


def switched_on(variable: str) -> bool:
    """Whether a variable says yes."""
    return os.environ.get(variable, "").lower() in TRUE


class World:
    """This rank among the others."""

    def __init__(self) -> None:
        """Read who we are from the environment; nothing is connected yet."""
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) == self.size
        self.device = torch.device("cpu")
        self._votes: Any = None

    def take_device(self) -> str:
        """Choose this rank's device and compute on it; return it in words.

        Raises:
            Wrong: there is none for this rank, or it computes wrong.
        """
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if found is not None and not switched_on("ACCELERATE_USE_CPU"):
            there = torch.accelerator.device_count()
            if self.local_rank >= there:
                raise Wrong(f"local rank {self.local_rank} has no device: torch sees {there} ({found.type})")
            torch.accelerator.set_device_index(self.local_rank)
            self.device = torch.device(found.type, self.local_rank)
        square = torch.arange(16.0, device=self.device).reshape(4, 4)
        if not torch.equal((square @ torch.eye(4, device=self.device)).cpu(), square.cpu()):
            raise Wrong(f"{self.device} multiplies matrices wrong")
        return self.name

    @property
    def name(self) -> str:
        """The device in words."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return str(self.device)

    @property
    def devices(self) -> list[torch.device]:
        """The devices that collectives work on."""
        return [self.device] if self.device.type == "cpu" else [self.device, torch.device("cpu")]

    def connect(self) -> str:
        """Meet the other ranks; return the backends."""
        patience = datetime.timedelta(seconds=PATIENCE)
        store: Any
        if "MASTER_ADDR" in os.environ:
            store, _rank, _size = next(iter(dist.rendezvous("env://", timeout=patience)))
        else:
            store = dist.HashStore()  # one process, started without torchrun's variables
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
        """Part from the others; rank 0, which holds the store that they vote through, goes last."""
        if in_step:
            gc.collect()  # a model of DDP that outlives its group may abort the process
            dist.destroy_process_group()
        self._votes.set(f"left/{self.rank}", "")
        if self.rank == 0:
            with contextlib.suppress(Exception):  # who is gone needs no store
                self._votes.wait([f"left/{rank}" for rank in range(self.size)], datetime.timedelta(seconds=FAREWELL))

    def vote(self, name: str, state: str, told: str) -> dict[int, tuple[str, str]]:
        """Tell our outcome of a check and return everyone's, through the store: the collectives may be what fails."""
        self._votes.set(f"{name}/{self.rank}", f"{state} {told}")
        votes: dict[int, tuple[str, str]] = {}
        for rank in range(self.size):
            try:
                # Somebody who waits for a rank that left a collective does so for as long as a collective may take.
                self._votes.wait([f"{name}/{rank}"], datetime.timedelta(seconds=PATIENCE + 10))
                how, _space, text = self._votes.get(f"{name}/{rank}").decode().partition(" ")
            except Exception as error:  # torch has several kinds
                how, text = BROKEN, f"it never came to the end of this check ({type(error).__name__})"
            votes[rank] = how, text
        return votes
