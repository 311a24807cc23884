"""What a script builds and loads: parameters without data, checkpoints that aren't read, batches of this process."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

from accel_estimate.tracing.script.memory import FakeTensor, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")

_UNUSED = (
    "state_dict", "proxies", "tqdm_class", "_from_pipeline", "_from_auto", "max_memory", "offload_folder",
    "offload_buffers", "_commit_hash", "variant", "adapter_kwargs", "adapter_name", "generation_config",
    "trust_remote_code", "use_kernels", "kernel_config", "key_mapping", "mirror", "_fast_init", "low_cpu_mem_usage",
    "from_tf", "from_flax", "offload_state_dict", "use_safetensors", "weights_only", "ignore_mismatched_sizes",
    "output_loading_info", "disable_mmap", "fusion_config", "allow_all_kernels",
)  # fmt: skip
_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
_REFUSED = ("quantization_config", "gguf_file", "distributed_config", "device_mesh", "tp_plan", "tp_size")


def changes(memory: Memory) -> dict[str, list[Callable[[ModuleType], None]]]:
    """Return what changes in libraries that load weights."""

    def models(module: ModuleType) -> None:
        module.PreTrainedModel.from_pretrained = classmethod(_from_pretrained)

    def known(_tensor: Any) -> bool:
        return False  # masks are known, so that models may look at them

    def paths(module: Any) -> None:
        module.is_fake_tensor = known

    def safetensors(module: Any) -> None:
        load = module.load_file

        def load_file(filename: Any, device: Any = "cpu") -> dict[str, Any]:
            return {name: one if str(device) == "cpu" else one.to(device) for name, one in load(filename).items()}

        module.load_file = load_file

    _load(memory)
    return {
        "transformers.modeling_utils": [models],
        "transformers.utils.import_utils": [paths],
        "safetensors.torch": [safetensors],
    }


def _load(memory: Memory) -> None:
    """Have torch.load map a file instead of reading it: only what is looked at is read."""
    known = torch.load

    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("mmap", None)
        try:
            found = known(f, "cpu", *args, mmap=isinstance(f, str) or hasattr(f, "__fspath__"), **kwargs)
        except RuntimeError:
            found = known(f, "cpu", *args, **kwargs)  # a file of an old form
        if map_location is None or callable(map_location) or isinstance(map_location, dict) or memory.host:
            return found

        def there(one: Any) -> Any:
            return one.to(map_location)

        return torch.utils._pytree.tree_map_only(torch.Tensor, there, found)

    torch.load = load


def _from_pretrained(cls: Any, name: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
    """Build the model that a folder or a repository describes, in the type that it would be loaded in."""
    for word in _REFUSED:
        if kwargs.pop(word, None) is not None:
            raise UnsupportedError(f"loads a model with {word}, which isn't traced; leave it out")
    kwargs = {word: value for word, value in kwargs.items() if word not in _UNUSED}
    hub = {word: kwargs.pop(word) for word in _HUB if word in kwargs}
    dtype, old, place = (kwargs.pop(word, None) for word in ("dtype", "torch_dtype", "device_map"))
    dtype = dtype if dtype is not None else old
    if config is None or isinstance(config, str) or hasattr(config, "__fspath__"):
        config, kwargs = cls.config_class.from_pretrained(config or name, return_unused_kwargs=True, **hub, **kwargs)
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedError("loads packed weights, which aren't traced; take the model's unpacked form")
    model = cls._from_config(config, *args, dtype=_dtype(dtype, config), **kwargs)
    model.tie_weights()
    model.name_or_path = str(name)
    model.eval()
    if place is not None:
        model.to("cuda" if isinstance(place, (str, dict)) and place != "cpu" else place)
    return model


def _dtype(dtype: Any, config: Any) -> Any:
    """Return a type as torch has it; transformers before 5 loads in fp32 unless one is named."""
    if isinstance(dtype, str) and dtype != "auto":
        return getattr(torch, dtype)
    if dtype is not None and dtype != "auto":
        return dtype
    new = int(import_module("transformers").__version__.split(".")[0]) >= 5  # noqa: PLR2004
    stored = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    stored = getattr(torch, stored) if isinstance(stored, str) else stored
    return stored or torch.float32 if dtype == "auto" or new else torch.float32


def _apply(self: Any, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
    """Change parameters, and let each stay what it is, as those with data do."""
    for child in self.children() if recurse else ():
        child._apply(fn)
    for name, one in self._parameters.items():
        if isinstance(one, FakeTensor):
            with torch.no_grad():
                one.data = fn(one)
                if one.grad is not None:
                    one.grad.data = fn(one.grad)
        elif one is not None:  # on the meta device
            self._parameters[name] = torch.nn.Parameter(fn(one.detach()), one.requires_grad)
    for name, one in self._buffers.items():
        if one is not None:
            self._buffers[name] = fn(one)
    return self


@contextmanager
def parameters(memory: Memory) -> Generator[None]:
    """Have every parameter without data, also one that is made of a tensor with data; compile nothing."""
    kind = torch.nn.Parameter
    known, compiled, applied = kind.__new__, torch.compile, torch.nn.Module._apply

    def make(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        if type(data) in (torch.Tensor, kind) and data.device.type != "meta":
            data = memory.emptied(data.detach(), device=False)
        return known(cls, data, requires_grad)

    def as_written(model: Any = None, **_named: Any) -> Any:
        return as_written if model is None else model

    def nothing(*_args: Any, **_named: Any) -> None: ...

    def truncated(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return tensor if isinstance(tensor, FakeTensor) else begun(tensor, *args, **kwargs)

    begun = torch.nn.init._no_grad_trunc_normal_
    torch.nn.init._no_grad_trunc_normal_ = truncated  # the one that looks at numbers
    kind.__new__ = staticmethod(make)
    torch.compile, torch.nn.Module._apply = as_written, _apply
    torch.nn.Module.compile = nothing
    try:
        yield
    finally:
        kind.__new__, torch.compile, torch.nn.Module._apply = known, compiled, applied
        torch.nn.init._no_grad_trunc_normal_ = begun


@contextmanager
def loaders() -> Generator[None]:
    """Have loaders load in this process, without workers and without pinned memory."""
    kind: Any = import_module("torch.utils.data").DataLoader
    known = kind.__iter__

    def iterate(self: Any) -> Any:
        self.__dict__.update(pin_memory=False, num_workers=0, prefetch_factor=None, persistent_workers=False)
        return known(self)

    kind.__iter__ = iterate
    try:
        yield
    finally:
        kind.__iter__ = known
