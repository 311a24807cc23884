"""What `--sync` and `--sync_launcher` carry to a machine, and what becomes of it there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError, resolve, split
from accel_config.checking import private
from accel_launch.hosts.carrying import receiving, tree
from tests.conftest import BIN

TOKEN = "hf_" + "aBcD" * 8 + "xy"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"


def git(folder: Path, *words: str) -> None:
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=a", "-c", "user.email=b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, env=own)


def fill(folder: Path, **files: str) -> Path:
    for name, text in {"train.py": "print()\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = fill(tmp_path / "me" / "project", **{".gitignore": "out/\n*.log\n", "lib/a.py": "a", "run.sh": "r"})
    (folder / "run.sh").chmod(0o755)
    git(folder, "init")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "x")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user, on the other machine."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def code(cwd: Path, *words: str) -> tree.Tree:
    typed = split(CATALOGUE, ["--hosts", "a", "--sync", *(words or ("train.py",))])
    return tree.code(resolve(CATALOGUE, (typed.values,)), str(cwd), typed.script)


class Sent:
    """The bytes that come by ssh."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.data = b"".join(pieces)

    def content(self, size: int) -> Iterator[bytes]:
        yield self.data[:size]
        self.data = self.data[size:]


def carry(made: tree.Tree) -> tuple[Path, list[str]]:
    """Carry a tree as both sides do; return the folder there, and the names whose contents have travelled."""
    folder = receiving.Folder(json.loads(json.dumps(made.data())))
    wanted = folder.prepare()
    sent = Sent(made.contents(wanted))
    for number in wanted:
        folder.take(number, sent)  # pyright: ignore[reportArgumentType]
    assert not sent.data
    folder.finish()
    receiving.clean(folder.path)
    os.close(folder.lock)
    return Path(os.fsdecode(folder.path)), [made.files[number][0] for number in wanted]


def there(folder: Path) -> dict[str, str | bytes]:
    found = [Path(above, name) for above, folders, names in os.walk(folder) for name in (*folders, *names)]
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in found
        if path.is_symlink() or path.is_file()
        if path.name != receiving.LIST.decode()
    }


def test_what_git_has_arrives_as_it_is_and_a_second_run_carries_what_changed(project: Path, home: Path) -> None:
    odd, raw = "odd\nname 'x'", os.fsdecode(b"\xff\xfe")
    fill(project, **{odd: "odd", raw: "raw", "new/b.txt": "a", "empty": "", "gone": "", "out/x": "", "a.log": ""})
    fill(project, **{".env": "WORD=1", "deploy": KEY, ".ssh/config.py": "", "key.pem": "", "pem.py": KEY})
    fill(project, **{"secrets/prod.yaml": "token: abc", "token.txt": "x", "conf.yaml": f"wandb: no\nhub: {TOKEN}\n"})
    for name, target in {"inside": "lib/a.py", "folder": "lib", "nowhere": "no", "away": "/etc/hosts"}.items():
        (project / name).symlink_to(target)
    git(project, "add", "gone", ".env")
    (project / "gone").unlink()
    for name in ("module", "nested"):  # a submodule, and a repository that git doesn't track
        git(fill(project.parent / name, **{"inner.py": name, ".gitignore": "cache"}), "init")
        git(project.parent / name, "add", "-A")
        git(project.parent / name, "commit", "-m", "x")
    git(project, "submodule", "add", str(project.parent / "module"), "module")
    fill(project, **{"module/cache": "", "module/more.py": "more"})
    shutil.move(project.parent / "nested", project / "nested")
    made = code(project)
    folder, wanted = carry(made)
    assert there(folder) == {
        **{".gitignore": b"out/\n*.log\n", "train.py": b"print()\n", "lib/a.py": b"a", "run.sh": b"r", odd: b"odd"},
        **{raw: b"raw", "new/b.txt": b"a", "empty": b"", "pem.py": KEY.encode(), "inside": "lib/a.py"},
        **{"folder": "lib", "nowhere": "no", "away": "/etc/hosts", ".gitmodules": (project / ".gitmodules").read_bytes()},
        **{f"{name}/{other}": text for name in ("module", "nested") for other, text in {
            "train.py": b"print()\n", "inner.py": name.encode(), ".gitignore": b"cache"}.items()},
        "module/more.py": b"more",
    }  # fmt: skip
    assert [os.access(folder / name, os.X_OK) for name in ("run.sh", "train.py")] == [True, False]
    assert folder == home / ".cache/accel/sync" / folder.name
    assert (home / ".cache/accel/sync").stat().st_mode & 0o77 == 0
    assert len({made.files[[name for name, *_ in made.files].index(name)][2] for name in wanted}) == len(wanted)
    kept, away = made.notes
    assert kept.endswith("credentials, keys or histories: .env, .ssh/config.py, conf.yaml and 4 more")
    assert away.endswith("links that lead out of the tree: away")
    assert carry(code(project)) == (folder, [])
    (folder / "lib/a.py").write_text("a run's own")  # what is carried is put right again, and the run's own kept
    assert carry(code(project)) == (folder, ["lib/a.py"])
    assert [(folder / name).read_text() for name in ("lib/a.py", "lib/a.py~")] == ["a", "a run's own"]
    fill(project, **{"train.py": "print(2)\n"})
    (project / "lib").rename(project / "lib2")
    (project / "run.sh").chmod(0o644)
    second, wanted = carry(code(project))
    assert (second != folder, wanted) == (True, ["train.py"])
    assert (second / "lib2/a.py").read_text() == "a"
    assert not os.access(second / "run.sh", os.X_OK)
    (second / "lib2/a.py").write_text("a run's own")
    assert (folder / "new/b.txt").read_text() == "a"  # nothing is shared between the folders of runs


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("tokenizer.json", "{}", False), ("special_tokens.txt", "", False), ("vocab.txt", "token\nsk-\n", False),
        ("README.md", f"Set HF_TOKEN={TOKEN} in your shell.", False), ("a.py", f"TOKEN = '{TOKEN}'", False),
        ("hub", TOKEN, True), ("a.yaml", f"  a.key: '{TOKEN}'", True), ("a.sh", f"export A={TOKEN}\n", True),
        ("a.ini", f"a\nb = sk-{'a' * 24}\n", True), ("a.txt", f"x: AKIA{'Q' * 16}", True), ("HF_token", "", True),
    ],
)  # fmt: skip
def test_what_is_private(tmp_path: Path, name: str, text: str, *, kept: bool) -> None:
    (tmp_path / name).write_text(text)
    assert (private.named(name) or private.is_key(tmp_path / name)) == kept


def test_the_place_in_the_tree_is_the_same(project: Path, home: Path) -> None:
    inside = fill(project / "lib")
    outer = fill(
        project.parent / "tools", **{"sub/venv/pyvenv.cfg": "", "sub/venv/a.py": "", "__pycache__/a.pyc": ""}
    )
    for cwd, words, names, at, script in (
        (inside, ("../train.py",), 5, "lib", "../train.py"),
        (inside, (str(project / "train.py"),), 5, "lib", "../train.py"),
        (inside, ("-m", "train"), 5, "lib", "train"),
        (project.parent, ("project/train.py", "x"), 5, ".", "project/train.py"),
        (outer, (str(outer / "train.py"),), 1, ".", "train.py"),  # without git
        (project.parent, ("tools/train.py",), 1, ".", "tools/train.py"),
        (project, (str(outer / "train.py"),), 1, "project", "../tools/train.py"),
    ):
        made = code(cwd, *words)
        assert (len(made.files), made.cwd, made.script[0]) == (names, at, script)
        folder, _ = carry(made)
        assert "-m" in words or (folder / made.cwd / script).is_file()


def test_what_can_not_be_carried_is_told_here(project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: str, cwd: Path = project) -> str:
        with pytest.raises(AccelError) as why:
            code(cwd, *words)
        return str(why.value)

    for name, size in {"b.bin": 3, "c.bin": 2, "d.bin": 1}.items():
        (project / name).write_bytes(bytes(size * 500_000))
    assert "sync_limit 2 (--sync_limit)" in (said := refused("--sync_limit", "2", "train.py"))
    assert "has 3.0 MB; its largest files are b.bin (1.5 MB), c.bin (1.0 MB), d.bin (0.5 MB). Let git ignore" in said
    (project / "b.bin").write_bytes(bytes(9_000_000))
    assert "largest files are b.bin (9.0 MB), c.bin (1.0 MB), d.bin (0.5 MB). Let" in refused(
        "--sync_limit", "2", "train.py"
    )
    (project / "b.bin").write_bytes(bytes(90_000_000))
    assert "largest files are b.bin (90.0 MB), c.bin (1.0 MB). Let git" in refused("--sync_limit", "2", "train.py")
    fill(project, **{"out/made.py": ""})
    assert f"doesn't carry the script {project}/out/made.py: git ignores it" in refused("out/made.py")
    assert "write its whole path" in refused("--sync_to", "there", "train.py")
    assert f"--sync would carry {home}, which is your home folder" in refused(cwd=fill(home))
    (project / ".git" / "HEAD").write_text("broken")
    assert f"git what {project} has, and git refuses: fatal: " in refused()
    monkeypatch.setenv("PATH", "")
    assert "git can't be started" in refused()


def test_a_report_and_compiled_modules_do_not_change_the_folder(project: Path, home: Path) -> None:
    made = code(project)
    fill(project, **{"report.json": "{}", "lib/__pycache__/a.cpython-311.pyc": "x"})
    assert code(project, "--report", "report.json", "train.py").folder == made.folder
    assert code(project).folder != made.folder


def test_a_file_that_changes_meanwhile_is_told_and_a_log_that_grows_is_not(project: Path, home: Path) -> None:
    fill(project, **{"log": "1\n", "data": "1234"})
    made = code(project)
    with (project / "log").open("a") as log:
        log.write("2\n")
    folder, _ = carry(made)
    assert (folder / "log").read_text() == "1\n"
    for change in ("5678", "12"):
        fill(project, data=f"new {change}")
        made = code(project)
        fill(project, data=change)
        with pytest.raises(ValueError, match=r"^data has changed meanwhile; try again"):
            carry(made)


def test_a_folder_of_the_user_s_is_made_equal_and_keeps_what_runs_have_written(project: Path, home: Path) -> None:
    words, to = ("--sync_to", "~/runs/it", "train.py"), home / "runs" / "it"
    fill(project, **{"old/only.py": "", "old2/only.py": "", "table": "1", "lib/kept.py": ""})
    carry(code(project))
    assert carry(code(project, *words)) == (to, []), "a folder by content had all"
    outside = fill(home / "outside")
    fill(to, **{"out/model": "weights", "table": "1\n2", "old2/notes": "", "lib/kept.py": "changed there"})
    for name in ("old", "old2", "lib"):
        shutil.rmtree(project / name)
    fill(project, table="3", **{"out2": "", "fresh/train.py": "fresh"})
    (to / "fresh").symlink_to(outside)  # nothing is written through a link
    (project / "run.sh").chmod(0o644)
    assert os.access(to / "run.sh", os.X_OK)
    assert carry(code(project, *words))[1] == ["fresh/train.py", "table"]
    assert (outside / "train.py").read_text() == "print()\n"
    assert not os.access(to / "run.sh", os.X_OK)
    assert there(to) == {
        **{
            ".gitignore": b"out/\n*.log\n",
            "train.py": b"print()\n",
            "run.sh": b"r",
            "table": b"3",
            "table~": b"1\n2",
        },
        **{"out/model": b"weights", "old2/notes": b"", "lib/kept.py": b"changed there", "out2": b""},
        "fresh/train.py": b"fresh",
    }
    with pytest.raises(ValueError, match="it has files that --sync hasn't put there"):
        carry(code(project, "--sync_to", str(outside), "train.py"))


def test_old_folders_go_unless_a_run_is_in_them_or_has_left_something(project: Path, home: Path) -> None:
    made: list[Path] = []
    used = -1
    for number in range(receiving.KEPT + 3):
        fill(project, number=str(number))
        made.append(carry(code(project))[0])
        listed = made[-1] / receiving.LIST.decode()
        os.utime(listed, (number, number))
        if number == 0:
            used = os.open(listed, os.O_RDWR)
            fcntl.flock(used, fcntl.LOCK_SH)
        if number == 1:
            fill(
                made[1],
                **{"out/model": "weights", "lib/__pycache__/a.pyc": "", "lib/.accel-new-1": "of a killed one"},
            )
    assert [one.exists() for one in made] == [True, True, False, *[True] * receiving.KEPT]
    assert there(made[1]) == {"out/model": b"weights"}
    assert len(there(made[0])) == 5
    os.close(used)
    fill(project, number="1")
    assert carry(code(project))[1] == ["number"]  # all else is in other folders
    assert not made[0].exists()
    assert (made[1] / "train.py").exists()


SSH = """#!/bin/sh
for command; do host=$before; before=$command; done
HOME=$FAR/$host exec env -u PYTHONPATH SSH_CONNECTION="127.0.0.1 1 127.0.0.1 2" ${BLOCKED:+PYTHONPATH=$BLOCKED} sh -c "cd; $command"
"""


@pytest.fixture
def shell(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The variables of a shell whose ssh is a shell with a home of its own for each machine."""
    for name in ("bin", "far/n1", "far/n2", "blocked"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    (tmp_path / "blocked/yaml.py").write_text("raise ImportError('there is no yaml there')")
    return {**environ, "PATH": f"{tmp_path}/bin:{BIN}:{os.environ['PATH']}", "FAR": str(tmp_path / "far")}


def launch(shell: dict[str, str], cwd: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [BIN / "accelerate", "launch", "--cpu", "--hosts", *map(str, words)]
    return subprocess.run(command, env=shell, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_the_script_runs_where_it_was_carried_to(shell: dict[str, str], project: Path) -> None:
    fill(project, **{"lib/train.py": "import os, a\nprint(os.getcwd())\n", "lib/a.py": ""})
    dry = launch(shell, project / "lib", "n1", "--sync", "--dry_run", "train.py").stdout
    there = (
        next(line for line in dry.splitlines() if "the code: 5 files (0.1 kB) in ~/" in line).split()[8].strip(",")
    )
    assert f"#   the folder {there}/lib\n" in dry
    done = launch(shell, project / "lib", "n1", "--sync", project / "lib" / "train.py")
    assert done.stdout == f"{there.replace('~', shell['FAR'] + '/n1')}/lib\n", done.stderr
    assert f"accel: the code: 5 files (0.1 kB) in {there}\naccel: n1: carried 5 files (0.1 kB)\n" in done.stderr
    shutil.rmtree(shell["FAR"] + "/n2")
    Path(shell["FAR"], "n2").write_text("no folder")
    done = launch(shell, project / "lib", "n1*1,n2*1", "--sync", "train.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "accelerate launch: n2: what --sync carries can't be put into ~/.cache/accel/sync/" in done.stderr
    assert "there: Not a directory: " in done.stderr


def test_a_machine_without_the_launcher_gets_it(shell: dict[str, str], project: Path) -> None:
    python = shutil.which("python3", path="/usr/bin")
    if (
        python is None
        or subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode
    ):
        pytest.skip("no Python of the system from 3.11 on, without packages of ours")
    shell["BLOCKED"] = str(Path(shell["FAR"]).parent / "blocked")
    bare = ("n1*2", "--engine", "local", "--python", python)
    done = launch(shell, project, *bare, "train.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install accel-launch" in done.stderr
    assert "carry it there with --sync_launcher, or install this version" in done.stderr
    fill(
        project, **{"train.py": "import sys\nprint(sys.prefix, [one for one in sys.modules if one[:5] == 'accel'])\n"}
    )
    done = launch(shell, project, *bare, "--sync_launcher", "--sync", "train.py")
    assert done.stdout == "/usr []\n" * 2, done.stderr
    assert "accel-launch" not in done.stderr
