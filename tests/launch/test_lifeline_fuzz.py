"""Random peers of the lifeline: recorded conversations with changes, and forged messages, to both of its sides."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accel_launch.inspecting.groups import Group
from accel_launch.running.lifeline import Lifeline
from accel_launch.running.lifeline.hub import comparison
from accel_launch.running.lifeline.hub.entrance import FROM_ONE
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.link import LONGEST, Broken, Link
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.messages import LATEST, LONGEST_TEXT, STATUS
from accel_launch.running.lifeline.refusals import MOST
from accel_launch.running.lifeline.sameness.subject import Subject
from accel_launch.running.lifeline.watch import Watch
from accel_launch.running.onlookers.machines.station import Station
from accel_launch.running.onlookers.stall.telling import Stall
from tests.fuzzing import fuzz
from tests.launch.audience import Audience
from tests.launch.test_lifeline import BEAT, FAILED, HELLO, free_port

pytestmark = pytest.mark.fuzz

RUN, SECRET, SIZE = "the-name-of-our-run", b"the secret of our run", 7919
LINE = Lifeline("127.0.0.1", 1, 0, 0, SIZE, SIZE, RUN, timeout=600, watched=True, subject=Subject("python3", ()))
GROUP: dict[str, Any] = {
    "ranks": [[0, 3], [7, 7]],
    "doing": "train.py:9 f > torch all_reduce, waiting",
    "kind": "waiting",
    "waits": True,
    "file": "/train.py",
    "line": 9,
    "function": "f",
    "operations": ["torch all_reduce"],
    "host": "machine 1 (h)",
    "local_rank": 0,
    "pid": 7,
    "unread": "no right",
}
FACTS = {
    "torch": "2.9.1",
    "python": "3.11.9",
    "clock": "0.1",
    "limit shared memory": "7",
    "variable NCCL_ALGO": "Ring",
}
STALL = {"at": 2.0, "since": 1.0, "groups": [GROUP], "unasked": ["u"], "culprit": "c", "ends": False}
TO_HUB: tuple[dict[str, Any], ...] = (
    HELLO,
    BEAT,
    FAILED,
    {"kind": "over", "failure": FAILED["failure"]},
    {"kind": "still", "seconds": 1.0},
    {"kind": "groups", "number": 1, "groups": [GROUP, GROUP]},
    {"kind": "portrait", "facts": FACTS},
    {"kind": "portrait", "facts": {**FACTS, "torch": "1.0", "library more": "1"}},
)
TO_MEMBER: tuple[dict[str, Any], ...] = (
    {"kind": "welcome", "host": "h", "missing": [1, 2]},
    {"kind": "beat", "missing": None},
    {"kind": "echo", "sent": 1.0, "time": 2.0},
    {"kind": "end", "grace": 1.0},
    {"kind": "note", "text": "t"},
    {"kind": "verdict", "failure": FAILED["failure"]},
    {"kind": "done"},
    {"kind": "refused", "why": "w"},
    {"kind": "start"},
    {"kind": "ask", "number": 1, "about": "still"},
    {"kind": "ask", "number": 2, "about": "stacks"},
    {"kind": "stall", **STALL},
)
ODD: tuple[Callable[[random.Random], Any], ...] = (
    lambda _r: None,
    lambda _r: float("nan"),
    lambda _r: -float("inf"),
    lambda r: r.choice((-1, 2**70, 10**4000, 1e300, -0.0, True)),
    lambda r: r.choice(("", "\x1b]0;x\x07", "\u202e", "\ud800", "x" * r.choice((501, 15000)), "a\nb")),
    lambda r: [""] * r.randrange(100),
    lambda r: json.loads("[" * (depth := r.randrange(1, 900)) + "]" * depth),
    lambda r: dict.fromkeys(map(str, range(r.randrange(100)))),
    lambda r: [[r.randrange(-1, 9), r.choice((5, 2**31 - 1))] for _span in range(r.randrange(200))],
)
TURN = 20.0  # seconds: more than a busy machine makes of a turn, less than one that waits for a peer


def changed(message: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A message with a few odd values, also inside."""
    made = copy.deepcopy(message)
    for _time in range(chance.randrange(3)):
        part = made
        if isinstance(made.get("failure"), dict) and chance.random() < 0.7:
            part = made["failure"]
        if isinstance(made.get("facts"), dict) and chance.random() < 0.7:
            part = made["facts"]
        if made.get("groups") and chance.random() < 0.7:
            part = chance.choice(list(made["groups"]))
            part = part if isinstance(part, dict) else made
        name = chance.choice([*part, "more"])
        if chance.random() < 0.2:
            part.pop(name, None)
        else:
            part[name] = chance.choice(ODD)(chance)
    return made


def garbled(data: bytes, chance: random.Random) -> bytes:
    """Bytes with a few of them changed, left out, doubled or cut off."""
    made = bytearray(data)
    for _time in range(chance.randrange(1, 6)):
        place = chance.randrange(len(made) + 1)
        end = min(len(made), place + chance.randrange(40))
        match chance.randrange(6):
            case 0:
                made[place:end] = chance.randbytes(end - place)
            case 1:
                del made[place:end]
            case 2:
                made[place:place] = made[place:end]
            case 3:
                del made[place:]
            case 4:
                made[place:place] = b"\n" * chance.randrange(3)
            case _:
                made[place:place] = chance.choice((b"9", b"[", b"\x1b[2J", b"NaN", b"\0")) * chance.choice(
                    (1, 600, 40000)
                )
    return bytes(made)


class Peer:
    """Someone at the other end, who may know the secret and the run's name, and may forge what it says."""

    def __init__(self, connection: socket.socket, role: str, secret: bytes | None, run: str, chance: random.Random):
        """Greet, now and then wrongly."""
        self.link, self.role, self.run, self.chance = Link(connection, role, secret), role, run, chance
        self.link.watched = chance.random() < 0.9
        self.heard, self.over, self.proven = b"", False, False
        self.messages = TO_HUB if role == "member" else TO_MEMBER
        self.link.greet()

    def act(self, recorded: list[bytes]) -> None:
        """Hear, and say something: by the protocol, forged, or garbled."""
        if self.over:
            return
        with suppress(OSError):
            self.heard += self.link.socket.recv(65536, socket.MSG_PEEK)
        try:
            self.link.receive()
        except Broken:
            self.over = self.chance.random() < 0.5
        link, chance = self.link, self.chance
        link.open = True
        if link.key is not None and not self.proven:
            link.send(kind="proof", run=link.proof(self.role, self.run))
            self.proven = True
        elif self.proven and chance.random() < 0.8:
            with suppress(TypeError, ValueError):  # what no JSON has
                link.send(**changed(chance.choice(self.messages), chance))
        else:
            data = b"".join(recorded) if chance.random() < 0.5 else chance.randbytes(chance.randrange(300))
            try:
                link.socket.send(garbled(data or b"{}", chance))
            except OSError:
                self.over = True


class Known:
    """What a launcher makes of what it hears about standing still; a watcher, which would look at ranks, isn't there."""

    def __init__(self, side: Hub | Member) -> None:
        """Join a side of the lifeline."""
        self.said: list[str] = []
        self.told: list[tuple[Stall, bool | None]] = []
        self.station = Station(0.01, tuple, Audience(self.told, self.said))
        self.station.join(cast("Watch", SimpleNamespace(side=side, line=side.line)))
        if self.station.another is not None:
            self.station.another.worker.ask = lambda number: None  # noqa: ARG005  # it would fork for each question
        self.station.ask = self._ask

    def _ask(self, number: int) -> None:
        group = Group((0,), "train.py:1 f > sleep").as_json()
        stall = {"at": 1.0, "since": 0.0, "ranks": [0], "odd": [], "kinds": {"0": "still"}, "groups": [group]}
        self.station.found_here(
            {
                "kind": "answer",
                "number": number,
                "stall": {**stall, "unasked": [], "unread": ""},
                "processes": [[0, 0, 1]],
            }
        )

    def turn(self) -> None:
        """Stand still here, and see what there is to tell."""
        self.station.found_here({"kind": "still", "seconds": 1.0})
        self.station.gather()
        began = time.monotonic()
        self.station.step(select.poll(), [])
        assert time.monotonic() - began < TURN

    def sound(self) -> None:
        """What is shown is short, and can be printed."""
        for stall, _ends in self.told:
            lines = stall.text().splitlines()
            assert len(lines) <= 20
            assert all(line.isprintable() and len(line) < 10 * LONGEST_TEXT for line in lines)
            assert stall.groups[0].ranks
            assert json.dumps(stall.as_json(), allow_nan=False)
            assert stall.cause
        assert all(line[:-1].isprintable() for line in self.said)
        self.station.close(select.poll())


def turned(side: Hub | Member) -> None:
    began, poller = time.monotonic(), select.poll()
    for fd, events in side.wants().items():
        poller.register(fd, events)
    side.handle(dict(poller.poll(2)))
    side.tick()
    assert time.monotonic() - began < TURN


def recording(secret: bytes | None) -> tuple[list[bytes], list[bytes]]:
    """What the two sides of a real conversation said: the member, and the hub."""
    port, said = free_port(), ([], [])
    hub = Hub(LINE.replace(port=port), "main", secret)
    with socket.create_server(("127.0.0.1", 0)) as between:
        member = Member(LINE.replace(port=between.getsockname()[1], machine=1), "host1", secret)
        until = time.monotonic() + 10
        pair: list[socket.socket] = []
        while not member.missing and time.monotonic() < until:
            turned(hub)
            turned(member)
            if not pair and select.select([between], [], [], 0)[0]:
                pair = [between.accept()[0], socket.create_connection(("127.0.0.1", port))]
            for here, there, words in ((*pair, said[0]), (*pair[::-1], said[1])) if pair else ():
                here.setblocking(False)
                try:
                    words.append(here.recv(65536))
                except BlockingIOError:
                    continue
                there.sendall(words[-1])
        assert member.missing
        member.close()
        hub.close()
        for one in pair:
            one.close()
    return said


def settings(chance: random.Random) -> tuple[bytes | None, bytes | None, str, bool]:
    """The run's secret, the peer's, the name it knows, and whether that makes it no stranger."""
    secret = chance.choice((None, SECRET))
    theirs = chance.choice((secret, None, b"guess"))
    run = chance.choice((RUN, "accel-29500"))
    return secret, theirs, run, (secret == theirs and (run == RUN or secret is not None))


def nothing_of_the_run(peers: list[Peer]) -> None:
    heard = b"".join(peer.heard for peer in peers)
    assert RUN.encode() not in heard
    assert re.search(rb"(?<![0-9a-f])%d(?![0-9a-f])" % SIZE, heard) is None  # other than in a random word


@pytest.fixture(autouse=True)
def closing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the sockets that a failed round leaves, so that its failure is all that is shown."""
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            made.append(self)
            if len(made) > 2000:
                del made[:1000]

    monkeypatch.setattr(socket, "socket", Kept)
    yield
    for one in made:
        one.close()


def bounded(notes: list[str], most: int = MOST) -> None:
    assert len(notes) <= most + 3
    assert all(note.isprintable() and len(note) < 2 * LONGEST_TEXT for note in notes)


def sound(first: Any) -> None:
    assert first is None or (0 <= first.status <= STATUS and abs(first.at) <= LATEST and first.cause.isprintable())


def test_no_peer_harms_the_main_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = {secret: recording(secret)[0] for secret in (None, SECRET)}
    monkeypatch.setattr(comparison, "SLOW", 0.0)
    monkeypatch.setattr(comparison, "SETTLED", 0.0)

    def one_round(chance: random.Random) -> None:
        secret, theirs, run, known = settings(chance)
        port = free_port()
        hub = Hub(LINE.replace(port=port), "main", secret)
        hub.reception.comparison.own = FACTS
        member = Member(LINE.replace(port=port, machine=2), "host2", secret)
        member.portrayal.facts = FACTS
        until = time.monotonic() + 5
        while member.missing is None and time.monotonic() < until:
            turned(hub)
            turned(member)
        assert member.missing is not None
        peers: list[Peer] = []
        known_here, known_there = Known(hub), Known(member)
        for _time in range(chance.randrange(1, 40)):
            known_here.turn()
            known_there.turn()
            if not peers or chance.random() < 0.2:
                connection = socket.create_connection(("127.0.0.1", port))
                peers.append(Peer(connection, "member", theirs, run, chance))
            chance.choice(peers).act(recorded[secret])
            turned(hub)
            turned(member)
            assert len(hub.roster.peers) <= FROM_ONE + 2
            for peer in hub.roster.peers.values():
                assert len(peer.link.coming) <= LONGEST
                assert len(peer.link.going) <= LONGEST * 17
        if not (known and run == RUN):
            assert not hub.ending
            assert not member.ending
            assert hub.roster.seen == {2}
            assert not hub.roster.finished
        if not known:
            nothing_of_the_run(peers)
        sound(hub.first)
        known_here.sound()
        known_there.sound()
        hub.roster.peers = {fd: peer for fd, peer in hub.roster.peers.items() if not peer.link.close()}
        member.close()
        hub.close()
        bounded(hub.notes, MOST + comparison.MOST_NOTES)
        for peer in peers:
            peer.link.close()

    fuzz(one_round)


def test_no_peer_harms_another_machine() -> None:
    recorded = {secret: recording(secret)[1] for secret in (None, SECRET)}

    def one_round(chance: random.Random) -> None:
        secret, theirs, run, known = settings(chance)
        peers: list[Peer] = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            member = Member(LINE.replace(port=server.getsockname()[1], machine=1), f"host{os.getpid()}", secret)
            known_here = Known(member)
            for _time in range(chance.randrange(1, 40)):
                known_here.turn()
                turned(member)
                with suppress(BlockingIOError):
                    peers.append(Peer(server.accept()[0], "hub", theirs, run, chance))
                if peers:
                    peers[-1].act(recorded[secret])
                    if chance.random() < 0.05:
                        peers[-1].link.close()
                        peers[-1].over = True
        if secret is not None and not known:
            assert not member.ending
            assert member.missing is None
        if not known:
            nothing_of_the_run(peers)
        sound(member.first)
        known_here.sound()
        assert 0 <= member.grace <= LINE.grace(lost=False)
        assert member.refused.isprintable()
        member.close()
        bounded(member.notes[-MOST:])
        for peer in peers:
            peer.link.close()

    fuzz(one_round)
