"""The settings of accelerate: declared once; read from flags, environment and files; checked; written.

from accel_config import CATALOGUE, layers, resolve, split

typed = split(CATALOGUE, ["--num_processes", "2", "train.py"])
found = layers(CATALOGUE, typed, os.environ)
settings = resolve(CATALOGUE, found.values, found.notes)
settings.value("num_processes")     # Value(value=2, origin=Origin(text='--num_processes', layer=0))
"""

from .catalogue import CATALOGUE
from .errors import AccelError, SettingError
from .flags import Typed, split
from .layers import layers
from .origin import Origin, Value
from .settings import Catalogue, Settings, resolve

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
