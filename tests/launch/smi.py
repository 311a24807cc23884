"""A stand-in of NVIDIA's program that tells what is on the devices, as strict as it: for machines without any."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = """#!{python}
# Unknown options and fields are refused, with the words and the status of the real one.
import os, sys
FIELDS = {{
    "--query-compute-apps": ("timestamp gpu_name gpu_bus_id gpu_serial gpu_uuid pid process_name name "
                             "used_gpu_memory used_memory").split(),
    "--query-gpu": "index uuid gpu_uuid name memory.used memory.total utilization.gpu pci.bus_id".split(),
}}
query, fields, form = "", [], ""
for word in sys.argv[1:]:
    option, _, value = word.partition("=")
    if option in FIELDS and not query:
        query, fields = option, value.split(",")
    elif option == "--format":
        form = value
    else:
        print(f'Option "{{word}}" is not recognized. Please run \\'nvidia-smi -h\\'.')
        sys.exit(6)
for field in fields:
    if field not in FIELDS[query]:
        print(f'Field "{{field}}" is not a valid field to query.\\n')
        sys.exit(2)
if not fields:
    sys.exit("a query only")
if form.split(",")[0] != "csv" or set(form.split(",")[1:]) - {{"noheader", "nounits"}}:
    print(f'"--format=" switch is missing. Only "csv" is supported.')
    sys.exit(2)
with open("{folder}/asked", "a") as log:
    log.write("asked\\n")
try:
    lines = [line.split() for line in open("{folder}/" + ("held" if query == "--query-compute-apps" else "devices"))]
except FileNotFoundError:
    lines = []
unit = "" if "nounits" in form else " MiB"
for facts in lines:
    if query == "--query-compute-apps":
        pid, memory, uuid = (*facts, "")[:3]
        values = {{"pid": pid, "used_memory": memory + unit, "used_gpu_memory": memory + unit, "gpu_uuid": uuid}}
    else:
        index, uuid, memory = facts
        values = {{"index": index, "uuid": uuid, "gpu_uuid": uuid, "memory.used": memory + unit}}
    print(", ".join(values.get(field, "[Not Found]") for field in fields))
"""


def install(folder: Path) -> str:
    """Put it there; return the PATH with it.

    In ``folder``, each line of ``held`` is a process: its pid, MiB and device's UUID; each of ``devices`` a device: its
    index, UUID and MiB that are held. Each question adds a line to ``asked``.
    """
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, folder=folder))
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"
