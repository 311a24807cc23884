"""The settings of accelerate: declared once; read from flags, environment and files; checked; written.

from accel_config import CATALOGUE, layers, resolve, split

typed = split(CATALOGUE, ["--num_processes", "2", "train.py"])
found = layers(CATALOGUE, typed, os.environ)
settings = resolve(CATALOGUE, found.values, found.notes)
settings.value("num_processes")     # Value(value=2, origin=Origin(text='--num_processes', layer=0))
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.catalogue import CATALOGUE
    from accel_config.errors import AccelError, SettingError
    from accel_config.reading.flags import Typed, split
    from accel_config.reading.layers import layers
    from accel_config.settings.index import Catalogue
    from accel_config.settings.origin import Origin, Value
    from accel_config.settings.resolved import Settings, resolve

    __version__: str
    """The version of the package."""

__all__ = [
    "CATALOGUE",
    "AccelError",
    "Catalogue",
    "Origin",
    "SettingError",
    "Settings",
    "Typed",
    "Value",
    "layers",
    "resolve",
    "split",
]

# Each public name with its module, which is imported when the name is used: `accelerate --help` needs none.
_MODULES = {
    "CATALOGUE": "accel_config.catalogue",
    **dict.fromkeys(("AccelError", "SettingError"), "accel_config.errors"),
    **dict.fromkeys(("Typed", "split"), "accel_config.reading.flags"),
    "layers": "accel_config.reading.layers",
    "Catalogue": "accel_config.settings.index",
    **dict.fromkeys(("Origin", "Value"), "accel_config.settings.origin"),
    **dict.fromkeys(("Settings", "resolve"), "accel_config.settings.resolved"),
}


def __getattr__(name: str) -> object:
    """Import a public name, or look up the version of the package, on its first use."""
    if name in _MODULES:
        # `importlib` would cost a start more than the names of this package.
        return getattr(__import__(_MODULES[name], fromlist=(name,)), name)
    if name == "__version__":
        from accel_config.showing.installing import version

        return version("accel-config")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the module, those that are imported on their first use too."""
    return sorted({*globals(), *__all__})
