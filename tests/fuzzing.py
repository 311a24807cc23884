"""Random input for as long as a fuzzer may run, each round with a seed that repeats it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable


def fuzz(one_round: Callable[[random.Random], None], *, seconds: float = 60) -> None:
    """Call a round with a seeded source of random numbers until the time is over.

    A round that raises is told with ``FUZZ_SEED``, which runs that round alone. ``FUZZ_SECONDS`` replaces the time.
    """
    if "FUZZ_SEED" in os.environ:
        one_round(random.Random(int(os.environ["FUZZ_SEED"])))
        return
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", seconds))
    seed = random.SystemRandom().randrange(2**32)
    while time.monotonic() < end:
        try:
            one_round(random.Random(seed))
        except BaseException as error:
            error.add_note(f"repeat it with FUZZ_SEED={seed}")
            raise
        seed += 1
