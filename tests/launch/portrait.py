# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
"""A script that writes down all it can see of itself and its interpreter; run by test_preload.py, never imported."""

import atexit
import ctypes
import faulthandler
import gc
import inspect
import json
import locale
import logging
import multiprocessing
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor

try:
    import numpy as np
except ImportError:  # another interpreter may have none
    np = None

PR_GET_PDEATHSIG, PR_GET_NAME, PR_GET_CHILD_SUBREAPER, PR_GET_DUMPABLE = 2, 16, 37, 3


def square(number):
    return number * number


class Held:
    """Something of the main module to be pickled."""

    def __init__(self, value):
        self.value = value


def itself():
    main = sys.modules["__main__"]
    spec = main.__spec__
    return {
        "names": list(main.__dict__),
        "name": __name__,
        "file": main.__dict__.get("__file__"),
        "cached": main.__dict__.get("__cached__"),
        "package": __package__,
        "doc": __doc__,
        "loader": type(__loader__).__name__,
        "spec": spec and [spec.name, spec.origin, spec.parent, spec.cached, type(spec.loader).__name__],
        "frames": [frame.f_code.co_filename for frame in frames()],
        "source": inspect.getsource(square),
        "pickled": [list(pickle.dumps(square)), list(pickle.dumps(Held(3)))],
    }


def frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def interpreter():
    plain = (
        "argv", "orig_argv", "path", "executable", "_base_executable", "prefix", "base_prefix", "warnoptions", "_xoptions",
        "dont_write_bytecode", "pycache_prefix", "platform", "version", "implementation",
    )  # fmt: skip
    return {
        **{name: str(getattr(sys, name, None)) for name in plain},
        "flags": str(sys.flags),
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "hooks": [
            sys.excepthook is sys.__excepthook__,
            sys.displayhook is sys.__displayhook__,
            sys.gettrace(),
            sys.getprofile(),
        ],
        "error": str(sys.exc_info()),
        "last": [name for name in vars(sys) if name.startswith("last_")],
        "finders": [getattr(one, "__name__", type(one).__name__) for one in sys.meta_path],
        "ours": [
            name
            for name in sys.modules
            if re.match("sitecustomize|usercustomize|fork_safety|parking|freshness|warmth|accel", name)
        ],
        "cache": [path for path in sys.path_importer_cache if "accel" in path],
        "filters": [str(one) for one in warnings.filters],
        "exits": atexit._ncallbacks(),
        "gc": [gc.isenabled(), gc.get_threshold()],
        "faulthandler": faulthandler.is_enabled(),
        "tracemalloc": tracemalloc.is_tracing(),
        "locale": [locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), time.tzname],
        "logging": str(logging.root.handlers),
    }


def streams():
    found: dict = {}
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        raw = getattr(stream.buffer, "raw", stream.buffer)
        found[name] = [
            type(stream).__name__, type(stream.buffer).__name__, stream is getattr(sys, f"__{name}__"), stream.name, stream.mode,
            stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.newlines, stream.isatty(),
            stream.fileno(), raw.name, raw.mode, raw.closefd, raw.seekable(), stream.seekable(), repr(raw), repr(stream),
        ]  # fmt: skip
    return {**found, "input": sys.stdin.read()}


def process():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
    get = ctypes.CDLL(None).prctl
    number = ctypes.c_int()
    name = ctypes.create_string_buffer(16)
    get(PR_GET_PDEATHSIG, ctypes.byref(number))
    get(PR_GET_NAME, name)
    return {
        "cmdline": open("/proc/self/cmdline").read(),
        "name": name.value.decode(),
        "executable": os.readlink("/proc/self/exe"),
        "dies with its parent": number.value,
        "dumpable": get(PR_GET_DUMPABLE),
        "group": [
            os.getpgid(0) == os.getpid(),
            os.getsid(0) == os.getppid(),
            os.getsid(0) == os.getpgid(os.getppid()),
        ],
        "parent": open(f"/proc/{os.getppid()}/comm").read(),
        "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
        "folder": os.getcwd(),
        "umask": status["Umask"],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "limits": [
            resource.getrlimit(getattr(resource, n)) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")
        ],
        "signals": [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
        "masks": [status[n] for n in ("SigQ", "SigBlk", "SigIgn", "SigCgt", "ShdPnd", "SigPnd") if n != "SigQ"],
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "open": dict(opened()),
        "threads": [
            status["Threads"],
            [t.name for t in threading.enumerate()],
            threading.get_native_id() == os.getpid(),
        ],
        "main thread": threading.main_thread() is threading.current_thread(),
    }


def opened():
    for fd in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            yield fd, re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue


def surroundings():
    varying = ("MASTER_PORT", "TORCHELASTIC_ERROR_FILE", "ACCELERATE_PROGRESS_FILE", "OUT")
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    code = "import os, sys; print(sys.path, list(os.environ), os.environ.get('PYTHONPATH'), 'sitecustomize' in sys.modules)"
    return {
        "environ": [[name, text if name not in varying else "..."] for name, text in os.environ.items()],
        "in C": {n: str(getenv(n.encode())) for n in ("RANK", "PYTHONPATH", "ACCEL_FORK_SERVER", "OMP_NUM_THREADS")},
        "a child's": subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout,
    }


def numbers():
    """The form of each generator's state, which is that of a fresh one; the numbers differ by themselves."""
    bits = np and np.random.mtrand._rand._bit_generator
    return {
        "python": [len(random.getstate()), random.getstate()[1][-1], random.getstate()[2]],
        "numpy": np and [bits.state["state"]["pos"], type(bits.seed_seq).__name__],
    }


def others():
    found: dict = {
        "method": multiprocessing.get_start_method(),
        "parent": str(multiprocessing.parent_process()),
        "name": multiprocessing.current_process().name,
    }
    for method in os.environ.get("METHODS", "fork").split(","):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found[method] = [pool.submit(square, 7).result(), pool.submit(Held, 5).result().value]
    return found


def failure():
    try:
        square("x")
    except TypeError:
        return traceback.format_exc()


if __name__ == "__main__":
    if os.environ.get("AGAIN") == os.environ["TORCHELASTIC_RESTART_COUNT"]:
        sys.exit(9)
    parts = (itself, interpreter, streams, process, surroundings, numbers, failure, others)
    whole = {part.__name__: part() for part in parts}
    drawn = [random.random(), np and np.random.random(), multiprocessing.current_process().authkey.hex()]
    with open(os.path.join(os.environ["OUT"], os.environ["RANK"]), "w") as file:
        json.dump([whole, drawn, os.getpid()], file)
