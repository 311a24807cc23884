"""The `accelerate` command, composed of the other five packages."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    __version__: str

__all__: list[str] = []


def __getattr__(name: str) -> object:
    """Look up the version on its first use: the distribution's metadata takes longer to read than most commands."""
    if name == "__version__":
        from accel_config.showing.installing import version

        return version("accel-cli")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
