"""The question of the wizard that asks for a setting."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from accel_config.settings.machine import MachineFacts
    from accel_config.settings.values import Values


class Question:
    """What the wizard asks, when it asks, and which answer it proposes.

    Its functions get the settings as answered so far.
    """

    def __init__(  # noqa: PLR0913
        self,
        text: str,
        *,
        default: str | float | Callable[[Values, MachineFacts], Any] | None = None,
        when: Callable[[Values], bool] | None = None,
        offered: Callable[[Values], Iterable[Any]] | None = None,
        labels: dict[Any, str] | None = None,
        gate: str = "",
        gate_default: bool = False,
        declined: str = "",
        lacking: str = "",
        made: str = "",
        implied: Callable[[Values], Any] | None = None,
        unasked: str | int | Callable[[Values], Any] | None = None,
        kept: Callable[[str], str] | None = None,
    ) -> None:
        """Declare the question; the documented arguments are the vocabulary.

        Args:
            text: The question.
            default: The answer to propose where that isn't the built-in value; or a function that finds it.
            when: The condition for asking; the section's own condition must hold too.
            offered: The answers to choose from, where those aren't all of the setting's choices.
            labels: How choices are shown (of several booleans: each by its place).
            gate: A yes-or-no question that comes first; after a no the setting stays unset.
            gate_default: The answer to propose to the gate.
            declined: A line to print at the end of the wizard after that no.
            lacking: What is to be installed after that no: its command takes the place of ``{command}`` in the line.
            made: The name of what the wizard can make after that no, which is then the answer. The gate is only asked
                where an installed package can make it (`accel_config.asking.makers`).
            implied: Finds a value that needs no question; None where it has to be asked for.
            unasked: The value that a new file gets without a question, where that isn't the built-in value; or a
                function that finds it.
            kept: Returns what a new file holds of an answer, where that isn't the answer itself.
        """
        self.text, self.default, self.when = text, default, when
        self.offered, self.labels = offered, labels or {}
        self.gate, self.gate_default, self.declined, self.made = gate, gate_default, declined, made
        self.lacking = lacking
        self.implied, self.unasked, self.kept = implied, unasked, kept

    def label(self, option: object) -> str:
        """Return how the wizard shows an option."""
        return self.labels.get(option, str(option))
