"""What was asked and answered, so that a person can go back, and change one answer of many.

Questions depend on answers. To go back, they are therefore asked from the start again; the answers up to the place
that the person goes back to are taken from here instead of being asked for.
"""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_config.asking.asker import Asker

HIDDEN = "***"


class Taken(Record):
    """One question with its answer."""

    question: str
    answer: Any
    proposed: Any
    """The answer that was proposed to it."""
    shown: str
    """The answer as the list of all answers shows it."""


def review(taken: Sequence[Taken], width: int) -> list[str]:
    """Return a line for each answer, which fits into ``width`` beside the pointer of a list."""
    room = max(width - len("  >   "), 20)
    column = min(max(len(one.question) for one in taken), room * 2 // 3)
    return [_cut(f"{_cut(one.question, column):<{column}}  {one.shown}", room) for one in taken]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


class Conversation:
    """An asker that keeps the answers of another one."""

    def __init__(self, asker: Asker) -> None:
        """Ask ``asker``."""
        self.asker = asker
        self.taken: list[Taken] = []
        self._known: dict[tuple[str, int], Taken] = {}
        """The answers of earlier rounds, by question and how many times it was asked before."""
        self._place = 0
        """The answer from which on the person is asked again."""
        self._rest = False
        """Whether answers after that one are kept where they still suit."""
        self._start = 0
        self._reported: set[str] = set()

    def back(self) -> None:
        """Begin another round, which asks for the last answer again, and for all that follow."""
        self._again(max(len(self.taken) - 1, 0), rest=self._rest and len(self.taken) > self._place)

    def change(self, place: int) -> None:
        """Begin another round, which asks for one answer again, and for those that don't suit it any more."""
        self._again(place, rest=True)

    def _again(self, place: int, *, rest: bool) -> None:
        for number, one in enumerate(self.taken):
            self._known[one.question, self._asked(one.question, number)] = one
        self.taken, self._place, self._rest = [], place, rest

    def _asked(self, question: str, before: int) -> int:
        """Return how many times a question was asked before the answer with this number."""
        return sum(one.question == question for one in self.taken[:before])

    def begin(self) -> None:
        """Mark the beginning of the questions about one setting."""
        self._start = len(self.taken)

    def refuse(self, reason: str) -> None:
        """Forget the answers since `begin`, because of ``reason``; the questions come again."""
        for number, one in enumerate(self.taken[self._start :], start=self._start):
            self._known.pop((one.question, self._asked(one.question, number)), None)
        del self.taken[self._start :]
        self._place = min(self._place, self._start)
        if reason:
            self.asker.report(reason)

    def report(self, text: str) -> None:
        """Print a remark, in the first round that makes it."""
        if text not in self._reported:
            self._reported.add(text)
            self.asker.report(text)

    def advise(self, text: str) -> None:
        """Print what helps to answer the question that comes next, if a person will be asked."""
        if text and len(self.taken) >= self._place and not (self._rest and len(self.taken) > self._place):
            self.asker.advise(text)

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        """Return the place of the option chosen."""

        def ask(label: str) -> str:
            return options[self.asker.choose(question, options, options.index(label))]

        return options.index(self._take(question, options[default], ask, options.__contains__, str))

    def several(self, question: str, options: Sequence[str], default: Sequence[int]) -> list[int]:
        """Return the places of the options chosen."""

        def show(places: list[int]) -> str:
            return ", ".join(options[place] for place in places) or "none"

        return self._take(
            question,
            list(default),
            lambda places: self.asker.several(question, options, places),
            lambda places: all(place < len(options) for place in places),
            show,
        )

    def confirm(self, question: str, default: bool) -> bool:
        """Return whether the answer is yes."""
        return self._take(
            question,
            default,
            lambda yes: self.asker.confirm(question, yes),
            lambda _yes: True,
            lambda yes: "yes" if yes else "no",
        )

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:
        """Return a text that ``check`` accepts."""
        return self._take(
            question,
            default,
            lambda text: self.asker.text(question, text, check, hidden=hidden),
            lambda text: not check(text),
            lambda text: HIDDEN if hidden else text,
        )

    def _take(
        self,
        question: str,
        proposed: Any,
        ask: Callable[[Any], Any],
        suits: Callable[[Any], bool],
        show: Callable[[Any], str],
    ) -> Any:
        """Return the answer that is known already, or else ask; an answer given before is proposed again."""
        place = len(self.taken)
        known = self._known.get((question, self._asked(question, place)))
        if known is not None and (
            not suits(known.answer) or (known.answer == known.proposed and known.proposed != proposed)
        ):
            known = None  # it can't be the answer any more, or was a proposal that is another one now
        if known is not None and (place < self._place or (self._rest and place > self._place)):
            answer = known.answer
        else:
            answer = ask(proposed if known is None else known.answer)
        self.taken.append(Taken(question, answer, proposed, show(answer)))
        return answer
