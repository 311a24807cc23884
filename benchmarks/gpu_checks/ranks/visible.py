"""Tell which devices CUDA's own library shows this process, and where it may run. Without torch."""

import ctypes
import os
import uuid

from telling import tell


def shown() -> list[str] | None:
    """Return the UUIDs of the devices, in CUDA's order; None without the driver's library."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    if (status := cuda.cuInit(0)) != 0:
        return [] if status == 100 else [f"cuInit: error {status}"]  # CUDA_ERROR_NO_DEVICE
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    found: list[str] = []
    for place in range(count.value):
        device, name = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        cuda.cuDeviceGet(ctypes.byref(device), place)
        newer = getattr(cuda, "cuDeviceGetUuid_v2", None)  # knows slices of a device
        ask = newer or cuda.cuDeviceGetUuid
        ask(ctypes.byref(name), device)
        found.append(str(uuid.UUID(bytes=bytes(name))))
    return found


tell(
    uuids=shown(),
    variable=os.environ.get("CUDA_VISIBLE_DEVICES"),
    order=os.environ.get("CUDA_DEVICE_ORDER"),
    rank=os.environ.get("LOCAL_RANK"),
    cpus=sorted(os.sched_getaffinity(0)),
)
