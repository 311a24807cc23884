"""Libraries that a run needs, looked for on the ranks' interpreter before anything starts."""

from __future__ import annotations

from accel_config.catalogue import Fp8, Launcher, Precision
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .checks import Findings
    from .host import Host
    from .layout import Layout


class Library(Record):
    """A library, and how one comes by it."""

    name: str
    modules: tuple[str, ...]
    """Top-level modules, any of which is it."""
    remedy: str

    def there(self, host: Host) -> bool:
        """Whether it can be imported."""
        return any(map(host.ask.module, self.modules))


def _extra(extra: str) -> str:
    return f"pip install 'accel-launch[{extra}]'"


TORCH = Library("torch", ("torch",), _extra("torch"))
# What each kind of run can't do without.
OF_KIND = {
    "FSDP": (TORCH,),
    "DEEPSPEED": (Library("deepspeed", ("deepspeed",), _extra("deepspeed")),),  # which brings torch
    "MEGATRON_LM": (
        TORCH,
        Library("Megatron-LM", ("megatron",), "https://github.com/NVIDIA/Megatron-LM says how to install it"),
    ),
}
# The backends of fp8_backend, in the order in which Hugging Face's library takes the first that is there.
OF_FP8 = {
    "AO": Library("torchao", ("torchao",), _extra("fp8-ao")),
    "TE": Library("transformer-engine", ("transformer_engine", "intel_transformer_engine"), _extra("fp8")),
    "MSAMP": Library(
        "MS-AMP", ("msamp",), "it can't be had by pip; https://github.com/Azure/MS-AMP says how to install it"
    ),
}


def check(settings: Settings, host: Host, laid: Layout, findings: Findings) -> None:
    """Refuse a run without what its kind or its precision needs; what another interpreter has isn't known here.

    Raises:
        AccelError: naming the library, who asked for it, and how to install it.
    """
    launcher = settings[Launcher]
    if launcher.python is not None or launcher.no_python or laid.kind == "XLA":
        return
    for library in OF_KIND.get(laid.kind, ()):
        if not library.there(host):
            asked = settings.paradigm
            findings.here(
                f"{asked.kind} ({asked.origin}) needs {library.name}, which isn't installed for {host.python}: "
                f"{library.remedy}"
            )
    if settings[Precision].mixed_precision == "fp8":
        _fp8(settings, host, findings)


def _fp8(settings: Settings, host: Host, findings: Findings) -> None:
    asked = f"mixed_precision fp8 ({settings.origin('mixed_precision')})"
    named = settings[Fp8].fp8_backend
    there = [backend for backend, library in OF_FP8.items() if library.there(host)]
    if named is None and there:
        findings.notes.append(
            f"fp8_backend isn't set: {there[0]}, the first of {', '.join(OF_FP8)} that is installed"
        )
    elif named is None:
        ways = "; or ".join(f"{library.name}: {library.remedy}" for library in OF_FP8.values())
        findings.here(f"{asked} needs a backend, and none is installed for {host.python}. {ways}")
    elif named not in there:
        library = OF_FP8[named]
        other = f"; or take {there[0]}, which is installed" if there else ""
        findings.here(
            f"{asked} with fp8_backend {named} ({settings.origin('fp8_backend')}) needs {library.name}, which isn't "
            f"installed for {host.python}: {library.remedy}{other}"
        )
