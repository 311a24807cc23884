"""The questions of `config` in their order: each setting is asked for when the answers so far make it matter."""

from __future__ import annotations

from accel_config.asking.advice import ADVICE, DOUBTS, INSIST
from accel_config.asking.answers import Answers
from accel_config.asking.asker import Back
from accel_config.asking.content import content
from accel_config.asking.conversation import Conversation
from accel_config.asking.dialog import Dialog
from accel_config.asking.proposal import propose
from accel_config.catalogue import CATALOGUE, INTERVIEW
from accel_config.checking.file import in_scope
from accel_config.settings.origin import TO_BE_MADE
from accel_config.settings.resolved import resolve
from accel_config.writing.spelling import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from accel_config.asking.asker import Asker
    from accel_config.asking.proposal import Proposal
    from accel_config.settings.declaration import Setting
    from accel_config.settings.machine import MachineFacts
    from accel_config.settings.origin import Value
    from accel_config.settings.question import Question
    from accel_config.settings.resolved import Settings


class Interview:
    """Asks the questions of the catalogue."""

    def __init__(
        self,
        asker: Asker,
        machine: MachineFacts,
        fixed: dict[str, object] | None = None,
        *,
        earlier: Mapping[str, Value] | None = None,
        makers: Container[str] = (),
    ) -> None:
        """Ask ``asker``, proposing what suits ``machine``.

        Args:
            asker: Who answers.
            machine: The machine that proposals suit.
            fixed: Settings that are answered already.
            earlier: The values of the file that the new one replaces; they are proposed again.
            makers: The settings whose values an installed package can make.
        """
        self.conversation = Conversation(asker)
        self.machine, self.fixed = machine, fixed or {}
        self.earlier, self.makers = earlier or {}, makers
        self.answers = Answers()
        self.closing: list[str] = []
        """Lines to print at the end."""

    def run(self) -> dict[str, object]:
        """Ask every question that matters; return the content of the new file, nested as there.

        Another call is another round, after `back` or `change` of the conversation.
        """
        while True:
            self.answers = Answers()
            self.closing.clear()
            try:
                return self._round()
            except Back:
                self.conversation.back()

    def _round(self) -> dict[str, object]:
        for section in INTERVIEW:
            for setting in section.settings:
                self._visit(setting)
        for setting in CATALOGUE.settings:
            if not setting.ask:
                self._carry(setting)
        return content(self.answers)

    def to_make(self) -> list[Setting]:
        """Return the settings that name something that doesn't exist yet."""
        return [one for one in CATALOGUE.settings if self.settings().value(one.name).origin == TO_BE_MADE]

    def settings(self) -> Settings:
        """Return the settings as answered so far."""
        return self.answers.settings()

    def _visit(self, setting: Setting) -> None:
        settings, ask = self.settings(), setting.ask
        if setting.scope not in in_scope(settings) or (setting.section.asked and not setting.section.asked(settings)):
            return
        known = self.fixed.get(setting.name)
        if known is None and setting.name not in self.fixed and ask and ask.implied:
            known = ask.implied(settings)
        if known is not None:
            self.answers.keep(setting, known)
        elif ask and (ask.when is None or ask.when(settings)):
            self._ask(setting, ask)

    def _carry(self, setting: Setting) -> None:
        """Keep the earlier file's value of a setting for which there is no question."""
        settings = self.settings()
        unread = setting.section.key and setting.section.asked and not setting.section.asked(settings)
        if setting.name not in self.earlier or unread or setting.name in self.answers.values:
            return
        if setting.scope not in in_scope(settings):
            return
        raw = plain(setting, self.earlier[setting.name].value)
        if reason := setting.deprecated or self.answers.refusal(setting, raw):
            self.conversation.report(f"{setting.key} is dropped: {reason}")
        else:
            self.answers.keep(setting, raw)

    def _ask(self, setting: Setting, ask: Question) -> None:
        if ask.gate and (not ask.made or setting.name in self.makers) and not self._open(setting, ask):
            return self._decline(setting, ask)
        dialog = Dialog(self.conversation, setting, ask, lambda raw: self.answers.refusal(setting, raw))
        if advice := ADVICE.get(setting.name):
            self.conversation.advise(advice(self.settings()))
        while True:
            self.conversation.begin()
            proposal = propose(setting, self.answers, self.machine, self.earlier)
            raw = dialog.answer(proposal, self.settings())
            reason = self.answers.refusal(setting, raw)
            if not reason and self._stands(setting, raw, proposal):
                return self.answers.keep(setting, raw)
            self.conversation.refuse(reason)

    def _stands(self, setting: Setting, raw: object, proposal: Proposal) -> bool:
        """Return whether an answer stands: the machine doesn't contradict it, or the person insists."""
        doubt = DOUBTS.get(setting.name)
        if doubt is None or not self.machine.known or str(raw) == str(proposal.best):
            return True
        reason = doubt(self.answers.settings_with(setting, raw), self.machine)
        return not reason or self.conversation.confirm(f"{reason}. {INSIST}", False)

    def _open(self, setting: Setting, ask: Question) -> bool:
        """Ask the question that comes first."""
        if setting.name in self.earlier:
            return self.conversation.confirm(ask.gate, True)
        # An earlier file of the same kind without the setting means that the answer was no. Enter makes nothing.
        answered = self.earlier and setting.scope in in_scope(resolve(CATALOGUE, [self.earlier])) and not ask.made
        return self.conversation.confirm(ask.gate, ask.gate_default and not answered)

    def _decline(self, setting: Setting, ask: Question) -> None:
        if ask.declined:
            self.closing.append(_with_command(ask))
        if ask.made:
            self.answers.keep_to_make(setting, ask.made)


def _with_command(ask: Question) -> str:
    """Return the line about a gate's no, with the command that installs what is lacking then."""
    if not ask.lacking:
        return ask.declined
    from accel_config.showing.installing import command

    return ask.declined.format(command=command(ask.lacking))
