"""Libraries that a run needs, looked for in the ranks' interpreter before anything starts."""

from __future__ import annotations

from accel_config.catalogue import Fp8, Launcher, Precision
from accel_config.record import Record
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout


class Library(Record):
    """A library, and how to install it."""

    name: str
    modules: tuple[str, ...]
    """Top-level modules, any of which is it."""
    extra: str = ""
    """The extra of accel-launch that brings it."""
    otherwise: str = ""
    """How to install it, where no extra brings it."""

    def remedy(self, python: str) -> str:
        """Return how to install it for an interpreter."""
        from accel_config.showing.installing import command

        return command(f"accel-launch[{self.extra}]", python=python) if self.extra else self.otherwise

    def installed(self, host: Host) -> bool:
        """Whether it can be imported."""
        return any(map(host.probe.packages.has, self.modules))


TORCH = Library("torch", ("torch",), "torch")
# Libraries that each training mode needs.
OF_KIND = {
    "FSDP": (TORCH,),
    "DEEPSPEED": (Library("deepspeed", ("deepspeed",), "deepspeed"),),  # which installs torch
    "MEGATRON_LM": (
        TORCH,
        Library(
            "Megatron-LM", ("megatron",), otherwise="see https://github.com/NVIDIA/Megatron-LM for how to install it"
        ),
    ),
}
# The backends of fp8_backend, in the order in which Hugging Face's library takes the first that is installed.
OF_FP8 = {
    "AO": Library("torchao", ("torchao",), "fp8-ao"),
    "TE": Library("transformer-engine", ("transformer_engine", "intel_transformer_engine"), "fp8"),
    "MSAMP": Library(
        "MS-AMP", ("msamp",), otherwise="not on PyPI; see https://github.com/Azure/MS-AMP for how to install it"
    ),
}


def check(settings: Settings, host: Host, layout: Layout, findings: Findings) -> None:
    """Check for the libraries that the training mode and the precision need.

    With --python or --no_python nothing is checked: the packages of another interpreter aren't known here.

    Raises:
        AccelError: a library is missing; the message names the setting that needs it, and how to install it.
    """
    launcher = settings[Launcher]
    if launcher.python is not None or launcher.no_python or layout.kind == "XLA":
        return
    for library in OF_KIND.get(layout.kind, ()):
        if not library.installed(host):
            kind = paradigm(settings)
            findings.refuse_locally(
                f"{kind.kind} ({kind.origin}) needs {library.name}, which isn't installed for {host.python}: "
                f"{library.remedy(host.python)}"
            )
    if settings[Precision].mixed_precision == "fp8":
        _fp8(settings, host, findings)


def _fp8(settings: Settings, host: Host, findings: Findings) -> None:
    asked = describe(settings, "mixed_precision")
    named = settings[Fp8].fp8_backend
    installed = [backend for backend, library in OF_FP8.items() if library.installed(host)]
    if named is None and installed:
        findings.notes.append(
            f"fp8_backend isn't set: {installed[0]}, the first of {', '.join(OF_FP8)} that is installed"
        )
    elif named is None:
        ways = "; or ".join(f"{library.name}: {library.remedy(host.python)}" for library in OF_FP8.values())
        findings.refuse_locally(f"{asked} needs a backend, and none is installed for {host.python}. {ways}")
    elif named not in installed:
        library = OF_FP8[named]
        other = f"; or give --fp8_backend {installed[0]}, which is installed" if installed else ""
        findings.refuse_locally(
            f"{asked} with {describe(settings, 'fp8_backend')} needs {library.name}, which isn't "
            f"installed for {host.python}: {library.remedy(host.python)}{other}"
        )
