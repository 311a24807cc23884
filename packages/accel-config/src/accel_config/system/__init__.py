"""What differs by system for the settings: one interface, `calls`, and a file for each kind of system.

- `home_of`: the home folder that the system knows of a user.
- `held`: a folder locked against others; `sync`: the rename of a file in it written through to the disk.
- `take_owner`: the mode and the owner of one file given to another.
- `paged`: a text given to a pager.

The launcher's own such place, `accel_launch.ranks.system`, is loaded by ranks without this package.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from . import windows as calls
else:
    from . import posix as calls

__all__ = ["calls"]
