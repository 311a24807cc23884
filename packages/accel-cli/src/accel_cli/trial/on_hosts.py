"""`accelerate test --hosts`: a launch on all machines whose ranks print their results for this command."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from accel_cli.trial.results import Following, Results, count
from accel_config import CATALOGUE
from accel_config.record import Record
from accel_config.settings.origin import FLAG, Origin, Value
from accel_config.settings.resolved import Settings
from accel_config.showing.console import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_cli.trial.results import Row


class Tested(Record):
    """What a suite has found on all machines."""

    status: int
    library: str
    """The version of Hugging Face's accelerate in the ranks; empty if they have none."""
    rows: tuple[Row, ...]
    links: tuple[Mapping[str, Any], ...]


def test(settings: Settings) -> int:
    """Check the machines, and first the links between them; return the exit status."""
    as_json = bool(settings.value("json").value)
    tried = Value(True, Origin("accelerate test --hosts", FLAG))
    values = {one.name: value for one, value in settings} | {"check_network": tried}
    found = [_launch(Settings(CATALOGUE, values, settings.notes), "torch", quiet=as_json)]
    library = found[0].library
    if not found[0].status and library:
        if not as_json:
            show(f"\nHugging Face's accelerate {library}:\n")
        found.append(_launch(settings, "library", quiet=as_json))
    elif not found[0].status and not as_json:
        show("Hugging Face's accelerate isn't installed, so its own checks don't run.\n")
    status = found[-1].status
    if as_json:
        rows = [{**dict(row), "bad": dict(row.bad)} for one in found for row in one.rows]
        links = [dict(link) for link in found[0].links]
        show(json.dumps({"status": status, "network": links, "checks": rows}, indent=2) + "\n")
    return status


def _launch(settings: Settings, suite: str, *, quiet: bool) -> Tested:
    """Run a suite; show its rows as they come, unless ``quiet``."""
    from accel_cli.diagnosis import diagnose
    from accel_launch import Host
    from accel_launch.hosts.hosts_plan import HostsPlan
    from accel_launch.running.report import rendering

    host, mark = Host.here(), f"\x1e{os.urandom(12).hex()} "
    with TemporaryDirectory(prefix="accelerate-test-") as folder:
        trial = str(Path(__file__).resolve().parent / "__main__.py")
        planned = HostsPlan(settings, host, (trial, suite, f"{folder}-ranks", mark))
        results = Results(Path(folder), 1)
        following = Following(results, (lambda _text: None) if quiet else show)
        readable, writable = os.pipe()
        reader = threading.Thread(target=_read, args=(readable, results, mark), daemon=True)
        reader.start()
        following.start()
        try:
            result = planned.run(writable)
        finally:
            os.close(writable)
            reader.join()
            rows = following.finish()
    if not quiet:
        show(count(rows))
        show(diagnose(rows, settings, {}))
        if result.status and not any(row.state == "failed" for row in rows):
            show(rendering.text(result, host.name, whole=bool(settings.value("debug").value)))
    complete = results.ended and all(row.state in ("ok", "skipped") for row in rows)
    return Tested(result.status or int(not complete), results.library, tuple(rows), result.network)


def _read(readable: int, results: Results, mark: str) -> None:
    """Keep the ranks' results where `Results` reads them; what else they print means nothing."""
    path = results.folder / "all.jsonl"
    with open(readable, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _prefix, found, text = line.partition(mark)
            if found and text.endswith("\n"):
                results.ranks = json.loads(text)["world"]
                with path.open("a", encoding="utf-8") as file:
                    file.write(text)
