"""What each more frozen layer with adapters adds to the peak of the backward pass under FSDP 1, in inputs of a layer.

It prints that without and with reentrant checkpointing, as JSON.
"""

import json
import weakref

import torch
from torch.distributed import destroy_process_group, get_rank, init_process_group
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

HIDDEN, TOKENS = 64, 4096


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.Linear(HIDDEN, HIDDEN, bias=False).requires_grad_(False)
        self.adapter = torch.nn.Linear(HIDDEN, HIDDEN, bias=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors + self.frozen(vectors) + self.adapter(vectors)


class Model(torch.nn.Module):
    def __init__(self, layers: int, reentrant: bool) -> None:
        super().__init__()
        self.layers, self.reentrant = torch.nn.ModuleList(Layer() for _ in range(layers)), reentrant

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            vectors = checkpoint(layer, vectors, use_reentrant=self.reentrant)
        return vectors


class Held(TorchDispatchMode):
    """Counts the bytes of storages that operations made and that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation, _types, words=(), names=None):
        made = operation(*words, **(names or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        return made

    def gone(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.now -= size


def unit(module: torch.nn.Module, recurse: bool, **_: object) -> bool:
    """Wrap layers, and what is trained by itself, as peft's policy does."""
    return recurse or isinstance(module, Layer) or any(it.requires_grad for it in module.parameters(recurse=False))


def peak(layers: int, *, reentrant: bool) -> float:
    """Return the peak of the backward pass, in inputs of a layer."""
    model = FullyShardedDataParallel(
        Model(layers, reentrant), auto_wrap_policy=unit, device_id=torch.device("cpu")
    )
    given = torch.zeros(TOKENS, HIDDEN, requires_grad=True)
    with Held() as held:
        loss = model(given).sum()
        held.peak = held.now
        loss.backward()
    return held.peak / (4 * TOKENS * HIDDEN)


init_process_group("gloo")
added = [(peak(12, reentrant=how) - peak(4, reentrant=how)) / 8 for how in (False, True)]
if get_rank() == 0:
    print(json.dumps(added))
destroy_process_group()
