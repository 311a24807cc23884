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
def lines(name):
    try:
        return [line.split() for line in open("{folder}/" + name)]
    except FileNotFoundError:
        return []
with open("{folder}/asked", "a") as log:
    log.write("asked\\n")
for (option,) in lines("broken"):
    if any(word.startswith(option) for word in sys.argv[1:]):
        print("Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error")
        sys.exit(255)
def part(facts):
    return dict(zip(("gpu", "place", "uuid", "profile", "gi", "ci", "memory"), facts))
if sys.argv[1:] == ["-L"]:
    for index, uuid, _memory in lines("devices"):
        print(f"GPU {{index}}: NVIDIA A100-SXM4-80GB (UUID: {{uuid}})")
        for one in map(part, lines("slices")):
            if one["gpu"] == uuid:
                print("  MIG {{profile:<15}} Device {{place:>2}}: (UUID: {{uuid}})".format(**one))
    sys.exit()
if sys.argv[1:] == ["-q", "-x"]:
    print('<?xml version="1.0" ?>\\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\\n<nvidia_smi_log>')
    for _index, uuid, memory in lines("devices"):
        own = [one for one in map(part, lines("slices")) if one["gpu"] == uuid]
        print(f"<gpu id='00000000:01:00.0'><uuid>{{uuid}}</uuid><mig_devices>" + ("" if own else "None"))
        for one in own:
            print("<mig_device><index>{{place}}</index><gpu_instance_id>{{gi}}</gpu_instance_id>"
                  "<compute_instance_id>{{ci}}</compute_instance_id><fb_memory_usage><total>9856 MiB</total>"
                  "<used>{{memory}} MiB</used></fb_memory_usage></mig_device>".format(**one))
        print(f"</mig_devices><fb_memory_usage><used>{{memory}} MiB</used></fb_memory_usage><processes>")
        for one in own:
            for pid in (pid for pid, inside in lines("inside") if inside == one["uuid"]):
                print(f"<process_info><gpu_instance_id>{{one['gi']}}</gpu_instance_id><compute_instance_id>{{one['ci']}}"
                      f"</compute_instance_id><pid>{{pid}}</pid><type>C</type></process_info>")
        print("</processes></gpu>")
    print("</nvidia_smi_log>")
    sys.exit()
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
unit = "" if "nounits" in form else " MiB"
for facts in lines("held" if query == "--query-compute-apps" else "devices"):
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
    index, UUID and MiB that are held; each of ``slices`` a slice (MIG): its device's UUID, its place there, UUID,
    profile, two instance ids and MiB; each of ``inside`` a process on a slice: its pid and the slice's UUID. A question
    with an option of ``broken`` fails. Each question adds a line to ``asked``.
    """
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, folder=folder))
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"
