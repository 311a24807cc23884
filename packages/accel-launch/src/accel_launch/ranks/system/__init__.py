"""What differs by system: one interface, `calls`, and a file for each kind of system that implements it.

- `SUPERVISES`: whether the supervisor runs here. `refusal`: why this system can't start a launch's processes.
- Deaths: `open_handle` (a descriptor of a process, which is readable once it has ended), `send_by` (a signal to that
  process and to no later one of its pid), `exit_status` (also of who isn't our child), `waiting` (what waits
  for descriptors, in the order in which they became ready), with `READABLE` and `HUNG_UP`.
- Children: `has_children`, `await_end` (the exit status of a child, which stays uncollected), `ADOPTS` (whether a
  process can take orphans). Where it can't: `marks`, `strays` and `remember`, by which they are found all the same.
- Processes: `processes` and `look` (the facts of all, or of one), `state`, `catches` (whether it has a handler for a
  signal), `command`, `environ`, `usage` (CPU and memory), `age` (of this one), `scheduler` (its policy), `LOOKS`
  (whether what a process waits for can be seen), `TICK` (ticks in a second of their CPU time), `BINDS` (whether a
  process can be bound to CPUs).
- Files: `memory_file` and `pipe`, which other processes open by a number in the folder `place`; `share` (the same for
  a terminal), `is_record`, `private` and `clear` (what is to be removed); `locked_by`; `FOLDER` (the flags to open a
  folder as a place), `DESCRIPTORS` (the folder of one's own descriptors).
- Sockets: `reach` (one with a long path), `peer` (the pid and the user of the other side), `ABSTRACT` (whether names
  need no file), `ROUTES` (whether interfaces can be asked for).
- `FORKING`: what is dangerous about ranks that are forked after imports; None where nothing can be forked.
- `METAL`: whether torch finds a GPU of Apple's by itself.

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
