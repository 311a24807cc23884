"""The device that a script believes in: tensors without data say that they are on it."""

from __future__ import annotations

from importlib import import_module

from accel_estimate.tracing.script import values
from accel_estimate.tracing.script.memory import FakeTensor, UnsupportedError
from accel_estimate.tracing.tracker import local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")
_overrides: Any = import_module("torch.overrides")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def named(place: object) -> bool | None:
    """Return whether something names the device, as `device=` takes it; None if it names nothing."""
    if place is None:
        return None
    if isinstance(place, (str, torch.device)):
        return str(place).startswith("cuda")
    return isinstance(place, int) and not isinstance(place, bool)


def _itself(tensor: Any, *_args: Any, **_named: Any) -> Any:
    return tensor


class Device(_overrides.TorchFunctionMode):
    """Sees each call of torch before torch does."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._memory = memory
        tensor, fake = torch.Tensor, FakeTensor.device

        def device(one: Any) -> Any:  # what a tensor without data answers without asking any mode
            return self._device(one) if torch._C._is_torch_function_mode_enabled() else fake.fget(one)

        FakeTensor.device = property(device)
        engine = torch.autograd._engine_run_backward

        def run(*args: Any, **kwargs: Any) -> Any:  # hooks and functions of Python in the backward pass
            with self:
                return engine(*args, **kwargs)

        torch.autograd._engine_run_backward = run
        context: Any = import_module("torch.utils._device")
        made, begun = context.DeviceContext.__torch_function__, context._device_constructors

        def make(where: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Have `with torch.device("cuda")`, which torch asks last, ask here."""
            kwargs = kwargs or {}
            if named(where.device) and func in begun() and kwargs.get("device") is None:
                return self.__torch_function__(func, types, args, {**kwargs, "device": where.device})
            return made(where, func, types, args, kwargs)

        context.DeviceContext.__torch_function__ = make
        self._own: dict[Any, Callable[..., Any]] = {
            tensor.device.__get__: self._device,
            tensor.is_cuda.__get__: self._is_cuda,
            tensor.is_cpu.__get__: self._is_cpu,
            tensor.get_device: self._number,
            tensor.to: self._to,
            tensor.cuda: self._cuda,
            tensor.cpu: self._cpu,
            tensor.pin_memory: _itself,
            tensor.__deepcopy__: self._copied,
            tensor.requires_grad_: self._trained,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        own = self._own.get(func)
        if own is not None:
            return own(*args, **kwargs)
        if (special := values.SPECIAL.get(func)) is not None and isinstance(args[0], FakeTensor):
            return special(self._memory, *args, **kwargs)
        if func is torch.nn.functional.cross_entropy:
            self._memory.logits(args[0] if args else kwargs["input"])
        where = named(kwargs.get("device"))
        if not where:
            return values.remembered(func, args, func(*args, **kwargs))
        kwargs["device"] = CPU
        if self._memory.host:
            return func(*args, **kwargs)
        kwargs.pop("pin_memory", None)
        with self._memory.placing(device=True):
            found = func(*args, **kwargs)
        if isinstance(found, torch.Tensor) and not isinstance(found, FakeTensor):
            found = self._memory.moved(found.detach(), None, device=True).requires_grad_(found.requires_grad)
        return found

    def _device(self, tensor: Any) -> Any:
        here = not self._memory.host and self._memory.on_device(tensor)
        if isinstance(local(tensor), FakeTensor):
            return CUDA if here else CPU
        return torch.Tensor.device.__get__(tensor)

    def _is_cuda(self, tensor: Any) -> bool:
        return self._device(tensor).type == "cuda"

    def _is_cpu(self, tensor: Any) -> bool:
        return self._device(tensor).type == "cpu"

    def _number(self, tensor: Any) -> int:
        return 0 if self._is_cuda(tensor) else -1

    def _cuda(self, tensor: Any, *_args: Any, **_named: Any) -> Any:
        return self._to(tensor, CUDA)

    def _cpu(self, tensor: Any, *_args: Any, **_named: Any) -> Any:
        return self._to(tensor, CPU)

    def _to(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Move a tensor, where that is a move."""
        copy = kwargs.pop("copy", False)
        other = kwargs.pop("other", None)
        if args and isinstance(args[0], torch.Tensor):
            other, args = args[0], args[1:]
        if other is not None:
            kwargs.setdefault("dtype", other.dtype)
            args = (self._device(other), *args)
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        wanted, here = named(device), self._memory.on_device(tensor)
        more: dict[str, Any] = {"copy": copy} if layout is None else {"copy": copy, "memory_format": layout}
        if self._memory.host or wanted is None or wanted == here:
            return (
                tensor.to(dtype=dtype or tensor.dtype, **more)
                if device is None or device.type != "meta"
                else tensor.to(device)
            )
        if not wanted and device.type != "cpu":
            return tensor.to(device)
        if not wanted and not isinstance(tensor, FakeTensor):
            return tensor.to(dtype=dtype or tensor.dtype, **more)
        return self._memory.moved(tensor, dtype, device=wanted)

    def _copied(self, tensor: Any, memo: Any) -> Any:
        """Copy a tensor for `copy.deepcopy`, as averages of weights begin."""
        if not isinstance(tensor, FakeTensor):
            return torch.Tensor.__deepcopy__(tensor, memo)
        if id(tensor) not in memo:
            with torch.no_grad():
                found = tensor.detach().clone()
            known = getattr(tensor, "_accel_known", None)
            if known is not None:
                found._accel_known = known.clone()
            if getattr(tensor, "_is_param", False):
                found = torch.nn.Parameter(found)
            memo[id(tensor)] = found.requires_grad_(tensor.requires_grad)
        return memo[id(tensor)]

    def _trained(self, tensor: Any, requires_grad: bool = True) -> Any:
        if (
            requires_grad
            and not isinstance(local(tensor), FakeTensor)
            and not tensor.requires_grad
            and tensor.is_floating_point()
        ):
            raise UnsupportedError("trains a tensor that is no torch.nn.Parameter; make it one")
        return tensor.requires_grad_(requires_grad)
