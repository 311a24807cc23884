"""Says what Hugging Face's library makes of runs: JSON in, the environments of each one's ranks; JSON out, a list for each.

The library is imported once for all of them; each rank is a fork of this process.
"""
# pyright: basic, reportMissingImports=false

import json
import os
import sys
import traceback

import accelerate


def rank(environ, channel):
    """Be a rank of this environment, and write down what it has become."""
    os.dup2(2, 1)
    os.environ.clear()
    os.environ.update(environ)
    made = accelerate.Accelerator()
    said = [made.distributed_type.name, made.device.type, made.mixed_precision, made.native_amp]
    made.wait_for_everyone()
    os.write(channel, f"{json.dumps(said)}\n".encode())


def main():
    """Start the ranks of one run after the other."""
    found = []
    for environs in json.load(sys.stdin):
        reads, writes = os.pipe()
        for environ in environs:
            if os.fork() == 0:
                try:
                    rank(environ, writes)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                os._exit(1)
        os.close(writes)
        with os.fdopen(reads) as channel:
            found.append([json.loads(line) for line in channel])
        for _environ in environs:
            os.wait()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
