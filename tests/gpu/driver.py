"""A stand-in of NVIDIA's program on a machine of one device, on which processes hold memory as long as they live.

Ranks of a rehearsal write their pid and MiB to `living` (benchmarks/gpu_checks/ranks/telling.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.launch import smi

UUID = "GPU-0abc"
PROGRAM = """#!{python} -IS
# What the strict stand-in doesn't answer, this does; for the rest it tells that one what is held now.
import os, sys
folder = "{folder}"
OWN = {{"driver_version": "999.10.01", "mig.mode.current": "[N/A]", "compute_mode": "Default",
       "gpu_uuid,utilization.gpu": "{uuid}, 7"}}


def lives(pid):
    try:
        with open(f"/proc/{{pid}}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def write(name, text):
    with open(f"{{folder}}/{{name}}-{{os.getpid()}}", "w") as file:
        file.write(text)
    os.replace(f"{{folder}}/{{name}}-{{os.getpid()}}", f"{{folder}}/{{name}}")


if sys.argv[1:] == ["-L"]:
    print("GPU 0: NVIDIA Stand-In (UUID: {uuid})")
    sys.exit()
asked = sys.argv[1].removeprefix("--query-gpu=")
if asked in OWN:
    print(OWN[asked])
    sys.exit()
with open(f"{{folder}}/living", "a+") as file:
    file.seek(0)
    living = [line.split() for line in file if lives(line.split()[0])]
write("held", "".join(f"{{pid}} {{size}} {uuid}\\n" for pid, size in living))
write("devices", f"0 {uuid} {{300 + sum(int(size) for _pid, size in living)}}\\n")
os.execv("{strict}", ["nvidia-smi", *sys.argv[1:]])
"""


def install(folder: Path) -> dict[str, str]:
    """Put it there; return the variables with which a rehearsal finds it."""
    smi.install(folder)
    program = folder / "bin" / "nvidia-smi"
    strict = program.rename(folder / "bin" / "strict")
    program.write_text(PROGRAM.format(python=sys.executable, folder=folder, strict=strict, uuid=UUID))
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "GPU_CHECK_STAND_IN": str(folder)}
