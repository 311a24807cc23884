"""The source bundle: which files, under which names, and always the same bytes."""

from __future__ import annotations

import io
import os
import pwd
import tarfile
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_sagemaker import entry
from accel_sagemaker.building import bundle


def fill(root: Path, *names: str) -> Path:
    for name in ("train.py", *names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"this is {name}\n")
    return root


def names(root: Path) -> list[str]:
    return [file.name for file in bundle.collect(root, "train.py", {}, 1).files]


def test_the_folder_of_the_script_is_sent_whole(tmp_path: Path) -> None:
    fill(tmp_path, "requirements.txt", "lib/model.py", "lib/data/table.csv")
    assert names(tmp_path) == ["lib/data/table.csv", "lib/model.py", "requirements.txt", "train.py"]


def test_what_nobody_wants_to_send_stays_out(tmp_path: Path) -> None:
    fill(tmp_path, ".git/config", "__pycache__/a.pyc", "lib/__pycache__/b.pyc", ".venv/x", "accel_entry.json")
    fill(tmp_path, "lib/.git", ".env", ".env.local", ".envrc", ".netrc", ".ssh/id")
    assert names(tmp_path) == ["train.py"]


# What lies in the homes of people who train: each of these names something that lets others in, or what they did.
IN_HOMES = """
.ssh/id_ed25519 .ssh/config id_rsa deploy/id_ecdsa.pub server.pem certs/tls.key store.p12 login.kdbx .gnupg/pubring.kbx
.aws/credentials .aws/config .azure/msal_token_cache.json .boto .s3cfg .oci/config .config/gcloud/credentials.db
.config/gcloud/application_default_credentials.json service-account-prod.json service_account.json client_secret_1.json
.kube/config kubeconfig prod.kubeconfig .docker/config.json .dockercfg terraform.tfstate infra/terraform.tfstate.backup
prod.tfvars .terraform/environment .vault-token .netrc _netrc .git-credentials .config/git/credentials .config/gh/hosts.yml
.npmrc .pypirc .config/pip/pip.conf .cargo/credentials.toml .cache/huggingface/token .huggingface/token .kaggle/kaggle.json
kaggle.json .config/wandb/settings .comet.config .pgpass .my.cnf .htpasswd .streamlit/secrets.toml credentials
credentials.json gcp-credentials.json secrets.yaml .secrets/a .bash_history .zsh_history .python_history .psql_history
.local/share/fish/fish_history .lesshst .viminfo .ipython/profile_default/history.sqlite .env .env.production prod.env
.envrc .databrickscfg .modal.toml .mozilla/firefox/logins.json .bashrc .profile
"""
PRIVATE = IN_HOMES.split()
# And what a project has under names that look alike.
IN_PROJECTS = """
train.py secrets.py lib/credentials.py environment.yml env.yaml identity.json id_map.json keys.txt history.csv
tokenizer.json token_counts.txt config.json .docker/Dockerfile monkey.txt key.py history/2024.txt states/state.bin
.github/workflows/ci.yml .config/train.yaml
"""
SENT = IN_PROJECTS.split()


def test_credentials_and_histories_stay_here_and_are_named(tmp_path: Path) -> None:
    fill(tmp_path, *PRIVATE, *SENT)
    made = bundle.collect(tmp_path, "train.py", {}, 1)
    assert [file.name for file in made.files] == sorted(SENT)
    (note,) = made.notes
    assert note.startswith("not sent, because by name or content they are credentials, keys or histories: .aws/, ")
    assert note.endswith("; to send one, add a line such as !.aws/ to .sagemakerignore")


@pytest.mark.parametrize("name", PRIVATE)
def test_each_name_alone_stays_here(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name)
    (tmp_path / ".gitignore").write_text("*\n!*\n!.*\n!**/*\n")  # git's own words don't decide what is sent
    assert names(tmp_path) == [".gitignore", "train.py"]


def test_only_a_line_that_names_a_private_file_sends_it(tmp_path: Path) -> None:
    fill(tmp_path, "ca.pem", "other.pem", ".ssh/config", ".env")
    (tmp_path / ".sagemakerignore").write_text("!*\n!ca.pem\n!.ssh/\n")
    assert names(tmp_path) == [".sagemakerignore", ".ssh/config", "ca.pem", "train.py"]


def test_a_private_key_stays_here_whatever_it_is_called(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt")
    (tmp_path / "deploy").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    (tmp_path / "public").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    made = bundle.collect(tmp_path, "train.py", {}, 1)
    assert [file.name for file in made.files] == ["notes.txt", "public", "train.py"]
    assert "deploy; to send one" in made.notes[0]


def test_links_that_leave_the_folder_are_named_and_never_lead_to_credentials(tmp_path: Path) -> None:
    root = fill(tmp_path / "project", "lib/a.txt")
    fill(tmp_path / "home", ".aws/credentials", "table.csv")
    (root / "data.csv").symlink_to(tmp_path / "home" / "table.csv")
    (root / "login").symlink_to(tmp_path / "home" / ".aws" / "credentials")
    (root / "inside").symlink_to(root / "lib" / "a.txt")
    made = bundle.collect(root, "train.py", {}, 1)
    assert [file.name for file in made.files] == ["data.csv", "inside", "lib/a.txt", "train.py"]
    private, out = made.notes
    assert "histories: login; to send one" in private
    assert out == (
        "links that leave the folder are sent as the files that they lead to: "
        f"data.csv -> {tmp_path / 'home' / 'table.csv'}"
    )


@pytest.mark.parametrize("name", ["ID_RSA", "Prod.PEM", "a/.Env", ".AWS/x", "Library/Keychains/login"])
def test_names_in_any_letter_case_stay_here(tmp_path: Path, name: str) -> None:
    fill(tmp_path, name, "Key.PY", "Model.bin")
    assert names(tmp_path) == ["Key.PY", "Model.bin", "train.py"]


KEYS = {
    "after attributes": "Bag Attributes\n  friendlyName: me\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n",
    "in a file of settings": "user: me\nkey: |\n  -----BEGIN RSA PRIVATE KEY-----\n  AAAA\n",
    "of PGP": "\n-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
    "of a service account": '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkq"}',
}


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys_are_found_below_the_first_line(tmp_path: Path, kind: str) -> None:
    fill(tmp_path)
    (tmp_path / "config").write_text(KEYS[kind])
    (tmp_path / "readme").write_text('A file with -----BEGIN PRIVATE KEY----- is a key; {"private_key": "path/to"}')
    (tmp_path / "pem.py").write_text('"""\n-----BEGIN PRIVATE KEY-----\n"""')
    assert names(tmp_path) == ["pem.py", "readme", "train.py"]
    assert "histories: config; to send one" in bundle.collect(tmp_path, "train.py", {}, 1).notes[0]


def test_links_to_files_of_the_system_or_of_another_person_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, root = tmp_path / "bob", tmp_path / "job"
    fill(root)
    other.mkdir()
    (other / "table.csv").write_text("")
    (root / "hosts").symlink_to("/etc/hosts")
    (root / "table").symlink_to(other / "table.csv")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    entry = pwd.struct_passwd(("bob", "x", 1, 1, "", str(other), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): entry}.__getitem__)
    monkeypatch.setattr(os, "getuid", lambda: -1)  # whoever runs the test owns the files
    assert names(root) == ["train.py"]
    (note,) = bundle.collect(root, "train.py", {}, 1).notes
    assert note == (
        "not sent, because links lead to files of the system or of another person: hosts -> /etc/hosts, "
        f"table -> {other}/table.csv; to send one, add a line such as !hosts to .sagemakerignore"
    )
    (root / ".sagemakerignore").write_text("!table\n")
    assert names(root) == ["table", "train.py"]


def test_names_that_would_move_the_cursor_are_spelled(tmp_path: Path) -> None:
    root = fill(tmp_path / "project")
    (root / "\x1b[2J.pem").touch()
    (tmp_path / "\x1b[2Jtable").touch()
    (root / "table").symlink_to(tmp_path / "\x1b[2Jtable")
    assert "\x1b" not in "".join(bundle.collect(root, "train.py", {}, 1).notes)


def test_a_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fill(tmp_path / "people" / "me", "project/x")
    monkeypatch.setenv("HOME", str(home))
    for root, why in (
        (home, "is your home folder"),
        (tmp_path / "people", f"is above your home folder {home}"),
        (Path("/"), "is the root of all folders"),
        (Path("/root"), "is "),
        (Path("/etc"), "is a folder of the system"),
        (Path("/home/somebody"), "is a home folder"),
    ):
        with pytest.raises(
            AccelError, match=r"a job gets the whole folder of its script; move the script"
        ) as refusal:
            bundle.collect(root, "train.py", {}, 1)
        assert f"{root} {why}" in str(refusal.value)
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(AccelError, match="is your home folder"):
        bundle.collect(tmp_path / "link", "train.py", {}, 1)
    assert bundle.collect(fill(home / "project"), "train.py", {}, 1).files


def test_the_ignore_file_is_gits_words(tmp_path: Path) -> None:
    fill(tmp_path, "data/a.bin", "data/keep.txt", "out.log", "lib/out.log", "lib/model.py", ".env")
    (tmp_path / ".gitignore").write_text("lib/\n")
    (tmp_path / ".sagemakerignore").write_text("# big things\ndata/*\n!data/keep.txt\n*.log\n!.env\n")
    assert names(tmp_path) == [".env", ".gitignore", "data/keep.txt", "lib/model.py", "train.py"]
    (tmp_path / ".sagemakerignore").unlink()
    assert names(tmp_path) == [".gitignore", "data/a.bin", "data/keep.txt", "out.log", "train.py"]


def test_the_bytes_follow_from_the_files_alone(tmp_path: Path) -> None:
    packed: list[bytes] = []
    for place, when in (("a", 1_000_000_000), ("b", 1_700_000_000)):
        root = fill(tmp_path / place, "lib/model.py")
        for name in ("train.py", "lib/model.py"):
            (root / name).chmod(0o600 if place == "a" else 0o664)
            os.utime(root / name, (when, when))
        packed.append(bundle.collect(root, "train.py", {"script": "train.py"}, 1).pack())
    assert packed[0] == packed[1]
    assert packed[0][4:8] == bytes(4), "the archive's head tells when it was packed"
    (tmp_path / "b" / "train.py").write_text("something else\n")
    assert bundle.collect(tmp_path / "b", "train.py", {"script": "train.py"}, 1).pack() != packed[0]


def test_the_archive_unpacks_to_the_files_and_our_program(tmp_path: Path) -> None:
    root = fill(tmp_path / "source", "run.sh")
    (root / "run.sh").chmod(0o755)
    (tmp_path / "outside.txt").write_text("linked\n")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    packed = bundle.collect(root, "train.py", {"script": "train.py"}, 1).pack()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "code", filter="data")
        assert {member.mtime for member in archive} == {0}
    code = tmp_path / "code"
    assert (code / "link.txt").read_text() == "linked\n"
    assert os.access(code / "run.sh", os.X_OK)
    assert (code / "accel_entry.py").read_text() == Path(entry.__file__).read_text()


def test_a_folder_that_is_too_large_is_refused_with_its_largest_files(tmp_path: Path) -> None:
    fill(tmp_path)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(1_500_000)
    with pytest.raises(
        AccelError, match=r"larger than 1 MB; its largest files are weights.bin \(1.5 MB\).*\.sagemakerignore"
    ):
        names(tmp_path)


def test_a_name_that_the_container_refuses_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "my data.csv")
    with pytest.raises(AccelError, match=r"my data.csv: the container accepts only names of"):
        names(tmp_path)


def test_a_script_that_is_ignored_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / ".sagemakerignore").write_text("*.py\n")
    with pytest.raises(AccelError, match=r"train\.py isn't in the bundle"):
        names(tmp_path)


def test_setup_py_at_the_root_is_left_out_with_a_note(tmp_path: Path) -> None:
    made = bundle.collect(fill(tmp_path, "setup.py", "lib/setup.py"), "train.py", {}, 1)
    assert [file.name for file in made.files] == ["lib/setup.py", "train.py"]
    assert "setup.py is omitted" in made.notes[0]


def test_links_that_are_not_followed_are_noted(tmp_path: Path) -> None:
    fill(tmp_path, "lib/model.py")
    (tmp_path / "lib" / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ignored.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".gitignore").write_text("*.log\n")
    made = bundle.collect(tmp_path, "train.py", {}, 1)
    assert [file.name for file in made.files] == [".gitignore", "lib/model.py", "train.py"]
    assert sorted(note.partition(" is omitted: it is a link")[0] for note in made.notes) == ["dangling", "lib/loop"]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "lib/model.py")
    scan = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("lib"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(AccelError, match=r"/lib can't be read: Permission denied"):
        names(tmp_path)
