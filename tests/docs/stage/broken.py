"""A script of the pages: rank 1 fails, and the others wait for it."""

import os
import time


def load(path: str) -> bytes:
    raise FileNotFoundError(path)


if os.environ.get("RANK") == "1":
    load("weights.bin")
time.sleep(60)
