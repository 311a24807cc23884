"""A tree of answers to the wizard, grown from its own questions: every answer to every question, wherever it matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice

from accel_config.asking.advice import INSIST
from accel_config.asking.interview import Interview
from accel_config.catalogue import CATALOGUE
from accel_config.settings.machine import MachineFacts

MACHINES = {
    "cpu": MachineFacts(cores=4),
    "4 GPUs": MachineFacts("GPU", 4, 16),
    "1 GPU": MachineFacts("GPU", 1, 8),
    "2 NPUs": MachineFacts("NPU", 2, 8),
}
CANDIDATES = ("2", "4", "1", "0.5", "29501", "KEY=value", "ml.p3.2xlarge", "0,1", "Some Name/With.Case")
"""Texts that somebody may type; those that a question refuses aren't answers to it."""


MAKERS = ("iam_role_name",)
SECRETS = {one.ask.text for one in CATALOGUE.settings if one.secret and one.ask}


class Refused(Exception):
    """An answer was not taken."""


class Path:
    """Answers by places in the lists of answers possible, the first ones as given, the rest the first possible."""

    def __init__(self, places: Sequence[int], machine: MachineFacts) -> None:
        self.places, self.interview = list(places), Interview(self, machine, makers=MAKERS)
        self.asked: list[tuple[str, str, int]] = []
        """Each question, the kind of run it was asked for, and how many answers it has."""
        self.keys: list[object] = []
        """The answers as they were given."""

    def run(self) -> dict[str, object]:
        return self.interview.run()

    def _take(self, question: str, answers: Sequence[object]) -> int:
        place = self.places[len(self.asked)] if len(self.asked) < len(self.places) else 0
        settings = self.interview.settings()
        telling = ("compute_environment", "distributed_type", "fsdp_version")
        kind = " ".join(str(settings.value(name).value) for name in telling)
        kind += " on several machines" if settings.value("num_machines").value != 1 else ""
        kind += "".join(self.interview.closing)
        self.asked.append((question, kind, len(answers)))
        self.keys.append(answers[place])
        return place

    def choose(self, question: str, options: Sequence[str], default: int, /) -> int:
        others = [place for place in range(len(options)) if place != default]
        order = [default, *others]
        return order[self._take(question, [options[place] for place in order])]

    def several(self, question: str, options: Sequence[str], default: Sequence[int], /) -> list[int]:
        choices = [list(default), list(range(len(options)))]
        return choices[self._take(question, choices)]

    def confirm(self, question: str, default: bool, /) -> bool:
        if INSIST in question:  # after a no the same question comes again
            self._take(question, [True])
            return True
        # Lists end somewhere: one item, or two.
        again = question == "Another?" and sum(asked == question for asked, _kind, _many in self.asked) > 0
        return (default, not default)[self._take(question, [default] if again else [default, not default])]

    def text(self, question: str, default: str, check: Callable[[str], str], /, *, hidden: bool) -> str:
        assert hidden == (question in SECRETS), f"{question} must be hidden if and only if it asks for a secret"
        assert check(""), f"{question} takes no answer for an answer"
        texts = [*islice((text for text in dict.fromkeys((default, *CANDIDATES)) if not check(text)), 3)]
        assert texts, f"{question}: {[check(text) for text in CANDIDATES]}"
        return texts[self._take(question, texts)]

    def report(self, text: str, /) -> None:
        raise Refused(text)

    def advise(self, text: str, /) -> None:
        assert all(len(line) < 80 or " " in line[60:80] for line in text.splitlines()), text


@cache
def walked(machine: str) -> list[tuple[Path, dict[str, object]]]:
    """Return what `walk` yields for the machine of this name, walked only once for all tests."""
    return [*walk(MACHINES[machine])]


def walk(machine: MachineFacts) -> Iterator[tuple[Path, dict[str, object]]]:
    """Yield a path for every answer to every question in every kind of run, with what its file says."""
    seen: set[tuple[str, str, int]] = set()
    todo: list[list[int]] = [[]]
    while todo:
        path = Path(todo.pop(), machine)
        try:
            content = path.run()
        except Refused:
            content = None
        for number, (question, kind, many) in enumerate(path.asked):
            taken = [*path.places, *[0] * len(path.asked)][:number]
            for place in range(many):
                if (question, kind, place) not in seen:
                    seen.add((question, kind, place))
                    if place != [*path.places, *[0] * len(path.asked)][number]:
                        todo.append([*taken, place])
        if content is not None:
            yield path, content
