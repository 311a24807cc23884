"""Operations of a script: those on the host run as they are, those on the device on tensors without data.

A tensor of the device is a fake one. So is the host's part of a model, which would be large; all other tensors of the
host are real, so that a script loads its data as ever.
"""

from __future__ import annotations

import sys
import weakref
from contextlib import contextmanager
from importlib import import_module

from accel_estimate.errors import EstimateError
from accel_estimate.tracing.tracker import STEP, Tracker, local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Any

    from accel_estimate.tracing.script.lines import Lines

torch: Any = import_module("torch")
_fake: Any = import_module("torch._subclasses.fake_tensor")
_trees: Any = import_module("torch.utils._pytree")

FakeTensor: Any = _fake.FakeTensor
SKIP = "leave it out where the environment has ACCEL_ESTIMATE_SCRIPT"
"""The way out of what can't be run without data."""
SMALL = 2**20
"""Whole numbers in tensors of up to so many elements stay known on the device: masks, lengths, positions."""


class UnsupportedError(EstimateError):
    """What a script does that can't be run without data."""


class Memory(Tracker):
    """Tracks what a script has on its device; with `host`, what it has on the CPU, where it uses no device."""

    def __init__(self, lines: Lines, *, host: bool) -> None:
        super().__init__(0, 2, host_scalars=False)
        self.host, self.lines = host, lines
        self.fake: Any = _fake.FakeTensorMode()
        self.used = host
        self.processes = 1
        self._hosted: dict[int, Any] = {}
        self._place: bool | None = None  # where new tensors come to be: True the device, None where the others are

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._subclasses and any(issubclass(kind, self._subclasses) for kind in types):
            return NotImplemented
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            tensors = [one for one in _trees.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
            if any(isinstance(one, FakeTensor) for one in tensors) or (not tensors and self._without_data()):
                return self._run(func, args, kwargs, tensors)
            return func(*args, **kwargs)

    def _without_data(self) -> bool:
        """Return whether a new tensor has none: it is the device's, or a module is being built."""
        if self._place is not None:
            return True
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), torch.nn.Module):
                return True
            frame = frame.f_back
        return False

    def _run(self, func: Any, args: Any, kwargs: Any, tensors: Sequence[Any]) -> Any:
        fakes = [one for one in tensors if isinstance(one, FakeTensor)]
        device = self._place if self._place is not None else any(self.on_device(one) for one in fakes)
        if func._opname == "copy_" and not isinstance(args[0], FakeTensor):
            return args[0]  # from the device into a tensor of the host
        if func._opname in ("record_stream", "record_grad_output_stream"):
            return None
        known = _known(func, args, kwargs, tensors)
        loads = func._opname in ("copy_", "_to_copy")

        def without(one: Any) -> Any:
            if isinstance(one, torch.device) and one.type == "cuda":
                return torch.device("cpu")
            if not isinstance(one, torch.Tensor) or isinstance(one, FakeTensor):
                return one
            return self.emptied(one, device=device and not loads)

        moved, named = _trees.tree_map(without, (args, kwargs))
        if func._opname == "index" and device:
            moved = (moved[0], [place for one in moved[1] for place in self._places(one)], *moved[2:])
        with self.fake:
            out = func(*moved, **named)
        self._settle(func, args, out, known, device=device)
        return out

    def _settle(self, func: Any, args: Any, out: Any, known: Any, *, device: bool) -> None:
        mine = [one for one in _trees.tree_leaves(out) if isinstance(one, FakeTensor)]
        theirs = [one for one in _trees.tree_leaves(known) if isinstance(one, torch.Tensor)]
        if known is None and func._schema.is_mutable and args and hasattr(args[0], "_accel_known"):
            del args[0]._accel_known
        for place, one in enumerate(mine):
            if len(theirs) == len(mine) and not theirs[place].is_floating_point():
                one._accel_known = theirs[place]
            self.settle(one, device=device, func=func, args=args)

    def settle(self, tensor: Any, *, device: bool, func: Any = None, args: Any = ()) -> None:
        """Note where a tensor is, if its storage is new."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._hosted or key in self._alive:
            return
        if device or self.host:
            self.used = True
            if func is None:
                self._note(storage, "activations", "a copy from the host")
            else:
                self._see(tensor, func, args)
        else:
            self._hosted[key] = weakref.ref(storage, lambda _: self._hosted.pop(key, None) and None)

    def on_device(self, tensor: Any) -> bool:
        """Return whether a tensor is on the device."""
        tensor = local(tensor)
        return isinstance(tensor, FakeTensor) and tensor.untyped_storage()._cdata not in self._hosted

    def emptied(self, tensor: Any, *, device: bool) -> Any:
        """Return a tensor of the host without its data; its numbers stay known if they are whole and few.

        Raises:
            UnsupportedError: it is trained, and would never get its gradient.

        """
        if tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled():
            raise UnsupportedError("trains a tensor that is no torch.nn.Parameter; make it one")
        found = getattr(tensor, "_accel_empty", None)
        if found is not None:
            return found
        found = self.fake.from_tensor(tensor.detach())
        if self.host:
            tensor._accel_empty = found  # as long as the tensor itself
        if not tensor.is_floating_point() and tensor.numel() <= SMALL:
            found._accel_known = tensor
        self.settle(found, device=device and tensor.dim() > 0)
        return found

    def moved(self, tensor: Any, dtype: Any, *, device: bool) -> Any:
        """Return a copy on the device, or on the host."""
        known = getattr(tensor, "_accel_known", None)
        if known is not None and not device:
            return known.to(dtype or known.dtype, copy=True)
        source = tensor if isinstance(tensor, FakeTensor) else self.emptied(tensor, device=False)
        narrow = source if dtype in (None, source.dtype) else source.to(dtype)
        with self.placing(device):
            return narrow.clone()

    @contextmanager
    def following(self) -> Generator[None]:
        """Note what operations don't tell: gathered weights come and go by the size of their storages."""
        with self._resizes(), self._propagates():
            yield

    @contextmanager
    def placing(self, device: bool) -> Generator[None]:
        """Have new tensors on the device, or on the host."""
        before, self._place = self._place, device
        try:
            yield
        finally:
            self._place = before

    def _places(self, index: Any) -> Sequence[Any]:
        """Return a known mask as the places that it selects, which tensors without data need."""
        known = None if index is None else getattr(index, "_accel_known", None)
        if known is None or known.dtype != torch.bool:
            return (index,)
        return [self.emptied(one.contiguous(), device=True) for one in known.nonzero().unbind(1)]

    def _note(self, storage: Any, kind: str, cause: str) -> None:
        if storage._cdata in self._hosted:
            return
        count = len(self.tape.blocks)
        super()._note(storage, kind, cause)
        if len(self.tape.blocks) > count:
            line = self.lines.here()
            self.tape.blocks[-1].line = line
            self.tape.blocks[-1].cause = f"{cause} at {line}" if line else cause

    def logits(self, tensor: Any) -> None:
        """Know logits by what goes into a loss over classes."""
        self._vocab = tensor.shape[-1]
        self.mark([tensor], "logits")

    def moment(self, name: str, title: str) -> None:
        """Enter a part of a step."""
        self._phase = name
        self.tape.enter(title)

    @property
    def stepping(self) -> bool:
        """Whether an optimizer steps now."""
        return self._phase == STEP


def _known(func: Any, args: Any, kwargs: Any, tensors: Sequence[Any]) -> Any:
    """Return what an operation on known whole numbers gives; None if that isn't known."""
    if any(one.numel() > SMALL or _value(one) is None for one in tensors) or func.namespace != "aten":
        return None
    if not tensors and func._opname not in ("arange", "zeros", "ones", "full", "scalar_tensor"):
        return None
    try:
        plain, named = _trees.tree_map(_with_value, (args, kwargs))
        if not tensors and named.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
            return None
        return func(*plain, **named)
    except RuntimeError:
        return None


def _with_value(one: Any) -> Any:
    return _value(one) if isinstance(one, torch.Tensor) else one


def _value(tensor: Any) -> Any:
    if isinstance(tensor, FakeTensor):
        return getattr(tensor, "_accel_known", None)
    return None if tensor.is_floating_point() else tensor


def fakes(found: Any) -> Iterator[Any]:
    """Yield the tensors without data in a tree."""
    return (one for one in _trees.tree_leaves(found) if isinstance(one, FakeTensor))
