"""What checks make of what they see: odd answers of a driver, devices of other machines, points of memory."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_checks import measured, needs, results
from benchmarks.gpu_checks.areas import endings, finding, memory, points, runs, tools
from benchmarks.gpu_checks.bench import GIB, Bench, Done
from benchmarks.gpu_checks.check import Check, NotSeenError, Row
from benchmarks.gpu_checks.driver import MIB, Driver
from benchmarks.gpu_checks.runner import seen
from tests.conftest import ROOT
from tests.estimate import accuracy
from tests.gpu.machine import ALL, DEVICE, FIRST, H100, NAME, ONE, answers, install, verdicts


def test_what_the_driver_does_not_tell_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    (gpu,) = bench.gpus
    assert (gpu.pci, gpu.driver, gpu.mig, gpu.compute_mode) == ("0000:3b:00.0", "580.159.04", "Disabled", "Default")
    assert bench.driver.holders() == {71: None, 72: 1024 * MIB}
    assert bench.used() == 512 * MIB
    older = {
        f"{FIRST},": "",
        FIRST: DEVICE,
        "=driver_version": "[N/A]",
        "=compute_mode": "Exclusive_Process",
    }
    install(tmp_path, {**older, "=uuid,memory.used": f"{H100}, [N/A]"}, monkeypatch)
    (gpu,) = Driver().gpus()
    assert (gpu.uuid, gpu.driver, gpu.mig, gpu.compute_mode) == (H100, None, None, "Exclusive_Process")
    assert needs.MISSING["shared"](Bench(bench.folder, bench.facts, rehearse=False)).startswith(
        "the device is in compute mode"
    )
    with pytest.raises(NotSeenError, match=r"doesn't tell memory\.used"):
        bench.used()
    install(tmp_path, {}, monkeypatch)
    assert (Driver().gpus(), Driver().holders(), Driver().used(H100), Driver().ask("-L")) == ([], {}, None, None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert Driver().gpus() == []


def test_devices_are_held_to_nvidia_smi_and_to_torch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, bench, f"{H100}|{NAME}|0000:3b:00.0\n")
    assert set(verdicts(finding.order(bench)).values()) == {"yes"}
    answers(monkeypatch, bench, "||\n")  # a sandbox without the driver's folder
    assert list(verdicts(finding.order(bench)).values()) == ["yes", "not seen", "not seen", "not seen"]
    answers(monkeypatch, bench, "")
    assert verdicts(finding.order(bench))["The launcher finds as many devices as nvidia-smi"] == "no"
    answers(monkeypatch, bench, f"{H100}|True\n")
    assert list(verdicts(finding.torch(bench)).values()) == ["yes"] * 3
    answers(monkeypatch, bench, f"{H100}|False\n|False\n")
    assert list(verdicts(finding.torch(bench)).values()) == ["no", "not seen", "no"]
    answers(monkeypatch, bench, "580.159.04\n")
    with pytest.raises(NotSeenError, match="has no /proc/driver/nvidia here"):
        list(finding.version(bench))
    monkeypatch.setattr(finding, "VERSION", Path(__file__))
    assert set(verdicts(finding.version(bench)).values()) == {"yes"}
    assert [row.holds for row in finding.container(bench)] == ["yes"]


def test_a_rank_sees_its_device_and_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = H100.removeprefix("GPU-")

    def told(*uuids: str) -> str:
        facts = {"uuids": list(uuids), "variable": "0", "cpus": [0]}
        return f"GPU-CHECK {json.dumps(facts)}\n"

    answers(monkeypatch, bench, f"0|{H100}\n", told(bare))
    found = verdicts(finding.ids(bench))
    assert len(found) == 5
    assert set(found.values()) == {"yes"}
    answers(monkeypatch, bench, f"0|{H100}\n1|GPU-other\n", told(bare))
    assert len(verdicts(finding.ids(bench))) == 4  # "all" isn't that device alone
    answers(monkeypatch, bench, f"0|{H100}\n", told("another"))
    assert set(verdicts(finding.ids(bench)).values()) == {"no"}
    answers(monkeypatch, bench, told(bare), told(), told(bare))
    assert list(verdicts(finding.inherited(bench)).values()) == ["yes", "yes", "no"]
    answers(monkeypatch, bench, "GPU-CHECK " + json.dumps({"uuids": None, "variable": "0"}) + "\n")
    unseen = Check("finding.ids", "ids", 60, (), True, finding.ids)
    assert [row.holds for row in seen(unseen, bench)] == ["not seen"]


def test_slices_are_named_where_there_are_any(tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSeenError, match="no slice has been made"):
        list(finding.mig(bench))
    divided = {
        **ONE,
        ALL: f"{DEVICE}, 580.159.04, Enabled, Default",
        "-L": f"{ONE['-L']}\n  MIG 1g.10gb     Device  0: (UUID: MIG-77)",
    }
    install(tmp_path, divided, monkeypatch)
    bench = Bench(bench.folder, bench.facts, rehearse=False)
    assert Bench(bench.folder, {}, rehearse=False).uuid == "MIG-77"  # without torch
    answers(monkeypatch, bench, 'GPU-CHECK {"uuids": ["x"], "variable": "MIG-77"}\n')
    assert set(verdicts(finding.mig(bench)).values()) == {"yes"}
    with pytest.raises(NotSeenError, match="the devices are slices"):
        list(finding.order(bench))


def affinity(_pid: int) -> set[int]:
    return {0, 1, 2, 3, 4}


def test_binding_and_env_are_held_to_the_kernel_and_the_driver(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "SYS", tmp_path)
    with pytest.raises(NotSeenError, match="no folder for the device's PCI address"):
        list(tools.binding(bench))
    folder = tmp_path / "bus/pci/devices/0000:3b:00.0"
    folder.mkdir(parents=True)
    (tmp_path / "devices/system/node/node1").mkdir(parents=True)
    (folder / "local_cpulist").write_text("0-1,4\n")
    (folder / "numa_node").write_text("1\n")
    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    answers(monkeypatch, bench, 'GPU-CHECK {"cpus": [0, 1, 4]}\n')
    assert [row.holds for row in tools.binding(bench)] == ["yes"]
    (folder / "numa_node").write_text("-1\n")  # a virtual machine
    assert [row.holds for row in tools.binding(bench)] == ["no", "not seen"]
    shown = {"NVIDIA driver": "580.159.04", "Devices": [f"GPU 0 {NAME}"], "torch": {"devices": [NAME]}}
    answers(monkeypatch, bench, json.dumps(shown))
    assert [row.holds for row in tools.env(bench)] == ["not seen", "not seen", "yes"]  # no driver's folder
    monkeypatch.setattr(tools, "GPUS", tmp_path)
    assert [row.holds for row in tools.env(bench)] == ["yes", "yes", "yes"]
    answers(monkeypatch, bench, json.dumps({**shown, "Devices": "none", "torch": "can't be imported"}))
    assert [row.holds for row in tools.env(bench)] == ["yes", "no", "no"]


def test_runs_are_judged_by_what_their_ranks_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(**other: object) -> str:
        facts = {
            "preloaded": True,
            "initialized": False,
            "forked_badly": False,
            "device": "cuda:0",
            "total": 256.0**3,
        }
        return f"GPU-CHECK {json.dumps({**facts, **other})}\n" * 2

    answers(monkeypatch, bench, kernel())
    assert list(verdicts(runs.preload(bench)).values()) == ["yes", "yes", "yes", "no"]
    monkeypatch.setattr(Done, "err", "accel: note: not preloaded: initializes opens torch.cuda")
    assert list(verdicts(runs.preload(bench)).values()) == ["no", "yes", "yes", "yes"]
    answers(monkeypatch, bench, kernel(initialized=True, device="cpu", preloaded=False))
    assert list(verdicts(runs.preload(bench)).values()) == ["no", "no", "no", "yes"]
    answers(monkeypatch, bench, kernel(at=time.time() + 5), kernel(at=time.time() + 3), kernel(at=time.time() + 9))
    assert list(verdicts(runs.first_kernel(bench)).values()) == ["yes", "yes"]
    answers(monkeypatch, bench, 'GPU-CHECK {"sum": 1.0, "backend": "nccl"}\n')
    assert [row.holds for row in runs.nccl(bench)] == ["yes"]
    answers(
        monkeypatch, bench, "  ok     0.01 s  device       cuda:0 (NVIDIA H100)\n21 checks: 20 passed, 1 skipped\n"
    )
    assert [row.holds for row in runs.test(bench)] == ["yes"]
    answers(monkeypatch, bench, "  FAILED 0.01 s  device\n21 checks: 20 passed, 1 failed\n", status=1)
    assert [row.holds for row in runs.test(bench)] == ["no"]
    answers(monkeypatch, bench, "accuracy 0.3, 1 ranks\n")
    assert [row.holds for one in (runs.readme, runs.fsdp2, runs.accelerator) for row in one(bench)] == ["no"] * 3


def test_a_standstill_is_read_from_the_report(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(
        _bench: Bench, _ranks: int, script: str, *_words: str, **_more: object
    ) -> tuple[str, str, dict[int, str]]:
        if script == "spin.py":
            return "status 124", "standing still", {0: "spin.py:16 wait_for_kernel > torch synchronize"}
        return (
            statuses.pop(0),
            "standing still for 15 s: absent.py:25 load > sleep",
            {0: "absent.py:31 all_reduce, waiting"},
        )

    statuses = ["status 124", "nothing is told within 45 s"]
    monkeypatch.setattr(endings, "standstill", ended)
    assert list(verdicts(endings.absent_nccl(bench)).values()) == ["yes", "yes"]
    assert list(verdicts(endings.absent_gloo(bench)).values()) == ["no", "yes"]
    assert list(verdicts(endings.kernel(bench)).values()) == ["yes", "yes"]


def test_points_are_held_to_low_and_high_and_to_the_trace() -> None:
    assert len(points.TRAINING) >= 30
    said = {name: memory.formula(point) for name, point in points.TRAINING.items()}
    exact = {
        name: {"point": name, **{figure: each[figure][1] for figure in memory.FIGURES}} for name, each in said.items()
    }
    name, point = next(iter(points.TRAINING.items()))
    trace = {"point": name, "allocated": said[name]["allocated"], "reserved": said[name]["reserved"]}
    assert memory.within("it", point, said[name], exact[name], trace).holds == "yes"
    high = {**exact[name], "device": 2 * said[name]["device"][2]}
    assert memory.within("it", point, said[name], high, None).holds == "no"
    for has, holds in ((GIB, "yes"), (2000 * GIB, "no")):
        assert memory.within("it", point, said[name], {"ran_out": True, "has": has}, None).holds == holds
    assert memory.within("it", point, said[name], {"broken": True, "why": "oh"}, None).holds == "broken"
    assert memory.within("it", point, said[name], {"why": "no time"}, None).holds == "not seen"
    assert set(verdicts(memory.summed(exact, said, {name: trace})).values()) == {"yes"}
    most = said[name]["reserved"][2]
    far = {
        name: {"point": name, "allocated": said[name]["allocated"][1] + GIB, "reserved": 9 * GIB + most, "device": 1}
    }
    found = verdicts(memory.summed(far, said, {name: trace, "other": {"point": "other", "why": "oh"}}))
    assert list(found.values())[-3:] == ["no", "no", "no"]
    assert set(verdicts(memory.summed({}, said, {})).values()) == {"not seen"}


def test_what_was_measured_is_read_like_published_measurements_and_kept_in_the_clone(tmp_path: Path) -> None:
    about = {
        "card": NAME,
        "driver": "580.159.04",
        "torch": "2.11.0",
        "python": "3.12.3",
        "date": "2026-12-01",
        "rehearsed": False,
    }
    figures = {"allocated": 3.1 * GIB, "reserved": 3.3 * GIB, "device": 3.9 * GIB}
    train = [next(iter(points.TRAINING.values())), points.TRAINING["llama 1B, LoRA of q and v, 8 x 1024"]]
    serve = next(iter(points.SERVING.values()))
    seen = [
        *({"point": one.name, "model": one.model, "settings": dict(one.settings), **figures} for one in train),
        {"point": serve.name, "model": serve.model, "settings": dict(serve.settings), "allocated": GIB},
    ]
    rows = {"memory.training": [Row(str(n), "", "", "yes", data=one) for n, one in enumerate(seen)]}
    file = tmp_path / "results.json"
    results.save(file, about, rows)
    kept = tmp_path / "tests" / "estimate" / "measured"
    kept.mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    page = (ROOT / measured.PAGE).read_text()
    (tmp_path / measured.PAGE).write_text(page)
    assert measured.keep(file, tmp_path) == 0
    found = list(accuracy.own(kept / "gpu-h100-80gb-hbm3.json"))
    assert [row.measured / GIB for row in found] == pytest.approx([3.1, 3.1, 3.3, 3.3, 3.9, 3.9, 1.0])
    assert {row.figure for row in found} == {"allocated", "reserved", "device", "serving, allocated"}
    assert accuracy.report(found)
    shown = (tmp_path / measured.PAGE).read_text()
    assert "NVIDIA H100 80GB HBM3, driver 580.159.04, torch 2.11.0" in shown
    assert "| claim | expected | seen | holds |" in shown
    assert measured.keep(file, tmp_path) == 0
    assert (tmp_path / measured.PAGE).read_text() == shown
    results.save(file, {**about, "rehearsed": True}, rows)
    assert measured.keep(file, tmp_path) == 2


def test_files_of_measured_cards_are_read() -> None:
    """Those that `--keep` has put there, if any."""
    for file in accuracy.MEASURED.parent.glob("gpu-*.json"):
        found: list[Any] = list(accuracy.own(file))
        assert found
