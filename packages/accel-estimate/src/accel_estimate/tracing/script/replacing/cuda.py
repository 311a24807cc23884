"""torch.cuda as a script finds it on a device: one card, whose memory is what is tracked."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")

_NAME, _BYTES, _CAPABILITY = "an estimated device", 80 * 2**30, (8, 0)
_NOTHING = (
    "set_device", "synchronize", "empty_cache", "ipc_collect", "reset_peak_memory_stats", "init", "_lazy_init",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_accumulated_memory_stats", "manual_seed",
    "manual_seed_all", "seed", "seed_all", "set_rng_state", "set_rng_state_all", "set_per_process_memory_fraction",
)  # fmt: skip


def pretend(memory: Memory) -> None:
    """Have torch.cuda and torch.accelerator answer for a device, for the rest of this process."""

    def answers(value: Any) -> Callable[..., Any]:
        return lambda *_args, **_named: value

    def amount(*_args: Any, **_named: Any) -> int:
        return sum(block.rounded for block in memory.tape.alive())

    cuda = torch.cuda
    for name in _NOTHING:
        setattr(cuda, name, answers(None))
    card = SimpleNamespace(
        name=_NAME, total_memory=_BYTES, major=_CAPABILITY[0], minor=_CAPABILITY[1], multi_processor_count=100,
        gcnArchName="", warp_size=32,
    )  # fmt: skip
    known: dict[str, Any] = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0,
        "get_device_name": _NAME,
        "get_device_properties": card, "get_device_capability": _CAPABILITY, "is_bf16_supported": True,
        "memory_stats": {}, "memory_summary": "", "mem_get_info": (_BYTES, _BYTES),
        "get_rng_state": torch.get_rng_state(),
        "get_rng_state_all": [torch.get_rng_state()], "get_arch_list": ["sm_80"], "_is_in_bad_fork": False,
        "is_current_stream_capturing": False, "device": nullcontext(), "stream": nullcontext(), "utilization": 0,
    }  # fmt: skip
    for name, value in known.items():
        setattr(cuda, name, answers(value))
    for name in (
        "memory_allocated",
        "max_memory_allocated",
        "memory_reserved",
        "max_memory_reserved",
        "memory_cached",
    ):
        setattr(cuda, name, amount)
    cuda.Stream, cuda.Event, cuda.current_stream, cuda.default_stream = (_Stream,) * 4
    accelerator = torch.accelerator
    answered: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_accelerator": torch.device("cuda"),
        "current_device_index": 0, "current_device_idx": 0, "set_device_index": None, "synchronize": None,
        "current_stream": _Stream(), "set_stream": None, "empty_cache": None, "memory_stats": {},
    }  # fmt: skip
    for name, value in answered.items():
        setattr(accelerator, name, answers(value))


class _Stream:
    """A stream or an event: nothing runs beside anything else."""

    cuda_stream = stream_id = device_index = device_type = 0

    def __init__(self, *_args: Any, **_named: Any) -> None: ...

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., float]:
        return lambda *_args, **_named: 0.0


def on_the_cpu(*, host: bool) -> None:
    """Have autocast and the loss scaler of the device work on tensors that torch knows as the CPU's."""
    mode: Any = import_module("torch.amp.autocast_mode").autocast
    first = mode.__init__

    def begin(
        self: Any, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None
    ) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        first(self, device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    mode.__init__ = begin
    checkpoint: Any = import_module("torch.utils.checkpoint")
    checkpoint._allowed_determinism_checks_to_fns["default"] = _form
    for name in ("is_autocast_enabled", "get_autocast_dtype"):
        _of_the_cpu(name)
    scaler: Any = import_module("torch.amp.grad_scaler").GradScaler
    scaler._maybe_opt_step = _step
    if not host:
        supported: Any = import_module("torch.optim.optimizer")._foreach_supported_types
        supported.append(import_module("torch._subclasses.fake_tensor").FakeTensor)


def _form(tensor: Any) -> dict[str, Any]:
    """Return what a tensor shares with its recomputation; inside an operation it says that it is on the CPU."""
    return {"shape": tensor.shape, "dtype": tensor.dtype}


def _step(_scaler: Any, optimizer: Any, _state: Any, *args: Any, **kwargs: Any) -> Any:
    """Step as with finite gradients."""
    return optimizer.step(*args, **kwargs)


def _of_the_cpu(name: str) -> None:
    known = getattr(torch, name)

    def ask(device_type: str = "cuda") -> Any:
        return known("cpu" if device_type == "cuda" else device_type)

    setattr(torch, name, ask)
