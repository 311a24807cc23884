"""What differs by system: one interface, `calls`, and a file for each kind of system that implements it.

- `refusal`: why this system can't start the processes of a launch.
- Deaths: `open_handle` (a descriptor of a process, which is readable once it has ended), `send_by` (a signal to that
  process and to no later one of its pid), `waiting` (what waits for descriptors, in the order in which they became
  ready), with `READABLE` and `HUNG_UP`.
- Children: `pids` (of all processes), `has_children`, `ADOPTS` (whether a process can take orphans), `await_end` (the
  exit status of a child, which stays uncollected).
- Files: `memory_file` (a file without a name, which has a path), `FOLDER` (the flags to open a folder as a place),
  `since_boot`, and `scheduler` (this process's policy).
- Sockets: `peer` (the pid and the user of the other side), `ABSTRACT` (whether names need no file).

What a system lacks raises OSError with ENOSYS, as an old kernel does. `prctl` is Linux's alone, and does nothing
elsewhere. The ranks' programs import this as ``system``: it needs the standard library alone, of Python 3.8.
"""

from __future__ import annotations

import sys

if sys.platform == "linux":
    from . import linux as calls
elif sys.platform == "win32":
    from . import windows as calls
else:
    from . import unix as calls

__all__ = ["calls"]
