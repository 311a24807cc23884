"""A question in the form that suits its setting: a choice, yes or no, a list, a text."""

from __future__ import annotations

from accel_config.asking.answers import NEEDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_config.asking.conversation import Conversation
    from accel_config.asking.proposal import Proposal
    from accel_config.settings.declaration import Setting
    from accel_config.settings.question import Question
    from accel_config.settings.values import Values

STATES = (None, True, False)
FREE = ("Leave it to the library", "yes", "no")
"""The states of a yes-or-no setting without a default, and how the wizard shows them."""


class Dialog:
    """The questions about one setting."""

    def __init__(self, asker: Conversation, setting: Setting, ask: Question, refusal: Callable[[Any], str]) -> None:
        """Ask ``asker``; ``refusal`` returns why a value can't be the answer."""
        self.asker, self.setting, self.ask, self.refusal = asker, setting, ask, refusal

    def answer(self, proposal: Proposal, settings: Values) -> Any:
        """Return the answer as given; it may still not fit the others."""
        setting, ask, best = self.setting, self.ask, proposal.best
        if setting.many:
            return self._several(best) if setting.default else self._list(proposal.earlier or ())
        if options := tuple(ask.offered(settings)) if ask.offered else setting.choices:
            proposed = best if best in options else proposal.usual
            place = options.index(proposed) if proposed in options else 0
            return options[self.asker.choose(ask.text, [ask.label(option) for option in options], place)]
        if setting.kind is not bool:
            return self._text("" if best is None else str(best))
        if proposal.usual is None:
            return STATES[self.asker.choose(ask.text, FREE, STATES.index(best))]
        return self.asker.confirm(ask.text, bool(best))

    def _several(self, proposed: Sequence[bool]) -> list[bool]:
        labels = [self.ask.label(place) for place in range(len(proposed))]
        chosen = self.asker.several(self.ask.text, labels, [place for place, on in enumerate(proposed) if on])
        return [place in chosen for place in range(len(proposed))]

    def _list(self, earlier: Sequence[object]) -> list[str]:
        """Ask for one item at a time, until the person wants no other."""
        defaults = [str(item) for item in earlier]
        items: list[str] = []
        while not items or self.asker.confirm("Another?", len(items) < len(defaults)):
            items.append(self._text(defaults[len(items)] if len(items) < len(defaults) else ""))
        return items

    def _text(self, default: str) -> str:
        def check(text: str) -> str:
            return self.refusal([text] if self.setting.many else text) if text.strip() else NEEDED

        return self.asker.text(self.ask.text, default, check, hidden=self.setting.secret)
