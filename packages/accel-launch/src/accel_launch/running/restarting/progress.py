"""How far an attempt came, as the run itself shows it: by a file, or by the last lines of its output.

Nothing is read while the run goes on: the channels keep the end of each rank's output anyway, and files are read when
an attempt has failed.
"""

from __future__ import annotations

import re

from accel_config.record import Record
from accel_launch.running.report.evidence.lines import ESCAPE
from accel_launch.running.restarting.progress_files import LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from accel_launch.running.output.channels import Channels
    from accel_launch.running.restarting.progress_files import ProgressFiles

LINES, WIDEST = 50, 500  # the last lines that are looked at, and the characters of each
GAP = r"""['"]?\s{0,4}[:=#\[(]?\s{0,4}['"]?"""
EPOCH = re.compile(rf"(?i)\bepoch{GAP}(\d{{1,9}}(?:\.\d{{1,9}})?)")
STEP = re.compile(rf"(?i)\b(?:(?:global[_ ])?step|iter|iteration|batch){GAP}(\d{{1,15}})")
BAR = re.compile(r"\b(\d{1,15})/\d{1,15}\s?\[")  # tqdm's, and Keras's
RATE = re.compile(r"\b(\d{1,9}(?:\.\d{1,9})?)\s?[A-Za-z]{1,12}/s\b")
ALONE = re.compile(r"\s{0,99}(\d{1,15})(?:\.\d{0,99})?(?:\s{0,99}/\s{0,99}\d{1,15})?\s{0,99}$")
HEAD = "Traceback (most recent call last)"


class Progress(Record):
    """How far an attempt came."""

    epoch: float | None = None
    step: float | None = None
    margin: float = 0.0
    """By how much the step may be behind: a progress bar is printed now and then."""
    at: float = 0.0
    """When that was written, in seconds since the epoch, as far as known; 0 if it isn't."""
    told: bool = False
    """Whether the script says so by a file, so that it can't be a number that only looks like a step."""

    def beyond(self, other: Progress) -> bool | None:
        """Return whether this is further than another; None if the two can't be compared."""
        if self.epoch is not None and other.epoch is not None and int(self.epoch) != int(other.epoch):
            return self.epoch > other.epoch
        if self.step is not None and other.step is not None:
            return self.step > other.step + max(self.margin, other.margin)
        if self.epoch is not None and other.epoch is not None:
            return self.epoch > other.epoch
        return None

    @property
    def words(self) -> str:
        """It in words, such as ``epoch 3, step 120``."""
        parts = ("epoch", self.epoch), ("step", self.step)
        return ", ".join(f"{name} {number:g}" for name, number in parts if number is not None)


def shown(channels: Channels, files: ProgressFiles | None = None) -> Progress | None:
    """Return how far an attempt came, by the output of its ranks and their progress files."""
    contents = [] if files is None else files.contents()
    found = reached((), [text for text, _at in contents])
    if found is not None:
        return found.replace(at=max(at for _text, at in contents), told=True)
    found = reached(_ends(channels))
    if found is None:
        return None
    written = (channel.traceback_at or channel.written_at for every in channels.all.values() for channel in every)
    return found.replace(at=max(written, default=0.0))


def _ends(channels: Channels) -> Iterator[str]:
    """Yield the end of each stream of each rank."""
    for every in channels.all.values():
        for channel in every:
            kept = channel.recent if channel.tail is None else channel.tail.end
            yield bytes(kept[-LIMIT:]).decode(errors="replace")


def reached(outputs: Iterable[str], files: Iterable[str] = ()) -> Progress | None:
    """Return how far an attempt came; None if nothing shows it.

    Args:
        outputs: The end of what each rank wrote.
        files: The content of progress files; where one tells something, outputs don't count.
    """
    told = [found for text in files if (found := _in_file(text)) is not None]
    return _furthest(told or [found for text in outputs if (found := _in_output(text)) is not None])


def _furthest(every: list[Progress]) -> Progress | None:
    found: Progress | None = None
    for one in every:
        if found is None or one.beyond(found):
            found = one
    return found


def _in_file(text: str) -> Progress | None:
    alone = ALONE.match(text[-LIMIT:].rstrip().rpartition("\n")[2])
    return Progress(step=float(alone[1])) if alone else _in_output(text)


def _in_output(text: str) -> Progress | None:
    """Return what the last lines say: the last epoch and the last step among them."""
    epoch = step = None
    margin = 0.0
    for line in reversed(_lines(text)):
        if epoch is None and (found := EPOCH.search(line)):
            epoch = float(found[1])
        if step is None and (found := STEP.search(line) or BAR.search(line)):
            step = float(found[1])
            # A bar is up to a second old: so many steps may have followed.
            rate = RATE.search(line, found.end()) if found.re is BAR else None
            margin = float(rate[1]) if rate else 0.0
        if epoch is not None and step is not None:
            break
    return None if epoch is None and step is None else Progress(epoch, step, margin)


def _lines(text: str) -> list[str]:
    """Return the last lines; tracebacks hold lines of code, which tell no progress."""
    found: list[str] = []
    inside = False
    for line in re.split(r"[\r\n]+", ESCAPE.sub("", text[-LIMIT:]))[-LINES:]:
        # In torch's mark ("[rank0]: ") the line keeps its indentation.
        bare = re.sub(r"^\[\w{1,32}\]: ?", "", line[:WIDEST])
        if HEAD in bare:
            inside = True
        elif inside and bare[:1] != " ":
            inside = False  # the exception itself
        elif not inside:
            found.append(bare)
    return found
