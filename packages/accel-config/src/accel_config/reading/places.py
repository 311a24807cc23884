"""Where config files are: the default one, and our own one beside it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "accel.yaml"
"""The file for the keys that only we know: see `accel_config.reading.own`."""


def default_path(environ: Mapping[str, str]) -> str:
    """Return where the default config file is: below ``$HF_HOME``, else ``huggingface`` in the cache folder."""
    cache = environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    return os.path.join(os.path.expanduser(home), "accelerate", "default_config.yaml")


def own_path(path: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of our own file if ``path`` is the default file, however it is named; else None."""
    default = default_path(environ)
    if os.path.abspath(path) != os.path.abspath(default) and os.path.realpath(path) != os.path.realpath(default):
        return None
    return os.path.join(os.path.dirname(default), NAME)
