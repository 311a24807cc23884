"""Says what Hugging Face's library makes of environments: JSON in, ``{case: [classes, environment]}``, JSON out.

The library is imported once for all of them; each class is built without arguments, so it reads the environment.
"""
# pyright: basic, reportMissingImports=false

import enum
import json
import os
import sys


def plain(value):
    """Return a value as JSON can hold it: enums and functions by name."""
    if isinstance(value, enum.Enum):
        return value.name
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, int, float, bool, type(None), dict)):
        return value
    return {name: plain(held) for name, held in vars(value).items()} if hasattr(value, "__dict__") else repr(value)


def main():
    """Build every class of every case in the case's environment."""
    from accelerate import utils
    from accelerate.parallelism_config import ParallelismConfig

    found = {}
    for case, (names, environ) in json.load(sys.stdin).items():
        os.environ.clear()
        os.environ.update(environ)
        for name in names:
            made = ParallelismConfig() if name == "ParallelismConfig" else getattr(utils, name)()
            found.setdefault(case, {})[name] = {
                field: plain(value) for field, value in vars(made).items() if field[:1] != "_"
            }
    print(json.dumps(found, default=repr))


if __name__ == "__main__":
    main()
