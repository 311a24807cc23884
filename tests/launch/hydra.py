"""A stand-in for Hydra, the process manager: it speaks PMI, version 1, and refuses what Hydra refuses."""

from __future__ import annotations

import os
import selectors
import socket
import threading


class Hydra:
    """A manager of this many ranks. Their ends are ``fds``; ``received`` keeps each rank's lines without ``cmd=``."""

    def __init__(self, ranks: int) -> None:
        pairs = [socket.socketpair() for _ in range(ranks)]
        self.ends = [theirs for _ours, theirs in pairs]
        self.fds = [theirs.fileno() for theirs in self.ends]
        self.received: list[list[str]] = [[] for _ in pairs]
        self._ours = [ours for ours, _theirs in pairs]
        self._held: dict[str, str] = {}
        self._waiting: set[int] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the ranks' ends and wait for the manager."""
        for end in self.ends:
            end.close()
        self._thread.join(10)

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for rank, ours in enumerate(self._ours):
                waiting.register(ours, selectors.EVENT_READ, rank)
            while waiting.get_map():
                for key, _events in waiting.select():
                    got = os.read(key.fd, 4096).decode()
                    if not got or any(self._answer(key.data, line) for line in got.splitlines()):
                        waiting.unregister(key.fileobj)
                        self._ours[key.data].close()

    def _answer(self, rank: int, line: str) -> bool:
        """Answer a line; return whether that was the last one."""
        received = self.received[rank]
        received.append(line.removeprefix("cmd="))
        fields = dict(word.split("=") for word in line.split())
        known = any(word.startswith("init ") for word in received)
        match fields["cmd"]:
            case "init" if (fields["pmi_version"], fields["pmi_subversion"]) == ("1", "1"):
                self._send(rank, "response_to_init rc=0 pmi_version=1 pmi_subversion=2")
            case "get_my_kvsname" if known:
                self._send(rank, "my_kvsname rc=0 kvsname=kvs_7_0")
            case "put" if known and fields["kvsname"] == "kvs_7_0" and fields["key"] not in self._held:
                self._held[fields["key"]] = fields["value"]
                self._send(rank, "put_result rc=0")
            case "barrier_in" if known:
                self._waiting.add(rank)
                if len(self._waiting) == len(self.fds):
                    for other in self._waiting:
                        self._send(other, "barrier_out tag=0")
                    self._waiting = set()
            case "get" if known and fields["kvsname"] == "kvs_7_0":
                value = self._held.get(fields["key"])
                self._send(rank, f"get_result rc={-1 if value is None else 0} value={value}")
            case "finalize" if known:
                self._send(rank, "finalize_ack rc=0")
                return True
            case "abort" if known:
                return True
            case _:
                return True
        return False

    def _send(self, rank: int, answer: str) -> None:
        self._ours[rank].sendall(f"cmd={answer}\n".encode())
