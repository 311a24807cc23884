"""A dispatch mode that notes when memory of tensors comes and goes, whether these have data or not."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from importlib import import_module

from accel_estimate.tracing.tape import Tape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import Any

torch: Any = import_module("torch")
_Mode: Any = import_module("torch.utils._python_dispatch").TorchDispatchMode

FORWARD, BACKWARD, STEP = "forward pass", "backward pass", "optimizer step"
_COMMUNICATION = ("c10d", "fsdp", "_c10d_functional")


class Tracker(_Mode):
    """Notes every storage that an operation makes, and when nothing holds it any longer.

    `vocab` and `tokens`: tensors that end in as many numbers, for as many tokens at least, are logits.
    `host_scalars`: single numbers that the optimizer makes stay on the host.
    """

    def __init__(self, vocab: int, tokens: int, *, host_scalars: bool) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.tape = Tape()
        self._vocab, self._tokens, self._host_scalars = vocab, tokens, host_scalars
        self._alive: dict[int, tuple[Any, int]] = {}
        self._phase, self._paused = "", 0
        self._modules: list[str] = []
        self._computes = torch.cpu.current_stream()  # FSDP 2 enters streams of its own, on the CPU too
        self._streams: dict[Any, int] = {self._computes: 0}
        self._subclasses: tuple[Any, ...] = ()
        if torch.distributed.is_available():
            self._subclasses = (import_module("torch.distributed.tensor").DTensor,)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._subclasses and any(issubclass(kind, self._subclasses) for kind in types):
            return NotImplemented  # its own operations come here
        out = func(*args, **(kwargs or {}))
        if func.namespace == "fsdp" and func._opname == "chunk_cat":
            self.mark(args[0], "communication")  # whole gradients on their way to be divided
        for tensor in _tensors(out):
            self._see(tensor, func, args)
        return out

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Name what runs inside."""
        self._phase = name
        self.tape.enter(name)
        yield
        self._phase = ""
        self.tape.enter("")

    @contextmanager
    def watching(self, model: Any) -> Generator[None]:
        """Know which module runs, and what no operation tells."""
        names = {module: name for name, module in model.named_modules()}

        def enters(module: Any, _inputs: Any) -> None:
            self._modules.append(names.get(module, type(module).__name__))

        def leaves(_module: Any, _inputs: Any, _outputs: Any) -> None:
            self._modules.pop()

        hooks = torch.nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(enters),
            hooks.register_module_forward_hook(leaves, always_call=True),
        ]
        with self._resizes(), self._propagates():
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

    @contextmanager
    def _resizes(self) -> Generator[None]:
        """Note storages that change their size, as those of gathered weights do."""
        resize = torch.UntypedStorage.resize_

        def resized(storage: Any, size: int) -> Any:
            if (known := self._alive.pop(storage._cdata, None)) is not None:
                self.tape.release(known[1])
            found = resize(storage, size)
            self._note(storage, "communication", "the gathering of weights")
            return found

        torch.UntypedStorage.resize_ = resized
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = resize

    @contextmanager
    def _propagates(self) -> Generator[None]:
        """Leave out what DTensor only thinks through: it runs each operation on whole tensors without data first."""
        if not self._subclasses:
            yield
            return
        place: Any = import_module("torch.distributed.tensor._sharding_prop").ShardingPropagator
        name = "_propagate_tensor_meta_non_cached"
        known = getattr(place, name)

        def quietly(*args: Any) -> Any:
            self._paused += 1
            try:
                return known(*args)
            finally:
                self._paused -= 1

        setattr(place, name, quietly)
        try:
            yield
        finally:
            setattr(place, name, known)

    def hold(self, tensors: Iterable[Any], kind: str) -> None:
        """Note tensors that are there already."""
        for tensor in tensors:
            self._note(local(tensor).untyped_storage(), kind, "the model")

    def mark(self, tensors: Iterable[Any], kind: str) -> None:
        """Say what tensors are for."""
        for tensor in tensors:
            known = self._alive.get(local(tensor).untyped_storage()._cdata)
            if known is not None:
                self.tape.blocks[known[1]].kind = kind

    def _see(self, tensor: Any, func: Any, args: Any) -> None:
        if self._paused:
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:
            if self._host_scalars and self._phase == STEP and tensor.dim() == 0:
                return
            kind = self._kind(tensor, func, args)
            module = f" in {self._modules[-1]}" if self._modules and self._modules[-1] else ""
            self._note(storage, kind, f"{func.namespace}.{func._opname}{module}")

    def _kind(self, tensor: Any, func: Any, args: Any) -> str:
        if func.namespace in _COMMUNICATION or torch.cpu.current_stream() != self._computes:
            return "communication"
        if self._phase == STEP:
            return "optimizer"
        if func._opname == "_to_copy" and self._holds_weight(args[0]):
            return "weights"
        shape = tensor.shape
        if (
            self._vocab
            and len(shape) > 1
            and shape[-1] == self._vocab
            and tensor.numel() >= self._vocab * self._tokens
        ):
            return "logits"
        return "activations"

    def _holds_weight(self, tensor: Any) -> bool:
        known = self._alive.get(tensor.untyped_storage()._cdata)
        return known is not None and self.tape.blocks[known[1]].kind == "weights"

    def _note(self, storage: Any, kind: str, cause: str) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or not size:
            return
        stream = self._streams.setdefault(torch.cpu.current_stream(), len(self._streams))
        number = self.tape.allocate(size, kind, cause, stream)

        def gone(_reference: Any) -> None:
            known = self._alive.get(key)
            if known is not None and known[1] == number:
                del self._alive[key]
                self.tape.release(number)

        self._alive[key] = (weakref.ref(storage, gone), number)


def _tensors(found: Any) -> Iterator[Any]:
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, (tuple, list)):
        for one in found:  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(one)


def local(tensor: Any) -> Any:
    """Return this process's part of a sharded tensor; any other tensor itself."""
    return tensor._local_tensor if hasattr(tensor, "_local_tensor") else tensor
