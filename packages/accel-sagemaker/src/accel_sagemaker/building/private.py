"""What no folder sends by itself: credentials, keys, histories and states, by their names or by how they begin.

Nor does it send what its links lead to among the system's files or in another person's home.
"""

from __future__ import annotations

import os
import pwd
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import pathspec

from accel_config.errors import AccelError
from accel_config.showing.wording import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    # Keys and certificates.
    *(".ssh/", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".gnupg/", ".password-store/", "keyrings/"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx", "*.pgp", "*.gpg"),
    # Environments, which often have secrets.
    *(".env", ".env.*", "*.env", ".envrc", ".direnv/"),
    # Clouds and clusters.
    *(".aws/", ".azure/", ".boto", ".s3cfg", ".oci/", ".bluemix/", ".databrickscfg", ".snowflake/", ".modal.toml"),
    *("**/.config/gcloud/", "**/.config/doctl/", "**/.config/hcloud/", "**/.config/rclone/", "rclone.conf"),
    *("application_default_credentials.json", "service[-_]account*.json", "client_secret*.json", "gha-creds-*.json"),
    *(
        ".kube/",
        "kubeconfig",
        "*.kubeconfig",
        "**/.docker/config.json",
        ".dockercfg",
        ".dockerconfigjson",
        "**/.config/containers/",
    ),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json", ".terraform/", ".terraform.d/", ".terraformrc"),
    *(".pulumi/", ".vault-token", "vault[-_]pass*", ".vault[-_]pass*"),
    # Hosts of code, packages and models.
    *(".netrc", "_netrc", ".git-credentials", "**/.config/git/credentials", "**/.config/gh/", "**/.config/hub"),
    *(
        ".npmrc",
        ".yarnrc.yml",
        ".pypirc",
        "**/.config/pip/",
        "pip.conf",
        "**/.cargo/credentials*",
        "**/.gem/credentials",
    ),
    *("**/.cache/huggingface/", "**/.huggingface/", ".kaggle/", "kaggle.json", "**/.config/wandb/", ".comet.config"),
    # Databases and services.
    *(".pgpass", ".my.cnf", ".mylogin.cnf", ".htpasswd", ".msmtprc", ".s3curl", "**/.streamlit/secrets.toml"),
    *("credentials", "credentials.*", "*[-_]credentials.json", "secrets.*", ".secrets", ".secrets/", ".secrets.*"),
    # Histories and states of programs.
    *(".*_history", "*_history.txt", "fish_history", ".lesshst", ".viminfo", ".wget-hsts", ".ipython/", ".jupyter/"),
    *("**/.local/share/", "**/.local/state/", ".mozilla/", ".thunderbird/", "**/.config/google-chrome/"),
    *("**/.config/chromium/", "**/Library/Keychains/", ".bash_sessions/", ".zsh_sessions/"),
    # Shells and editors of a person.
    *(".bash_aliases", ".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".vscode-server/", ".cache/"),
)
"""In git's syntax, in any letter case. Python's own modules may be called like some: see `CODE`."""
CODE = (".py", ".pyi", ".ipynb")
EVERYTHING = {"*", "**", "*/", "**/", "**/*", "*.*", "/*", "/**"}
"""Patterns that include whatever there is, and so name no file that somebody decided to send."""
KEY = re.compile(
    rb"^\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"  # after a comment, or attributes of the key
    rb'|"private_key"\s*:\s*"[^"]{40}',  # of a service account
    re.MULTILINE,
)
BEGINNING = 4096
"""Bytes of a file in which a key begins."""
SMALL = 100_000
"""A larger file isn't a key."""
SYSTEM = ("etc", "proc", "sys", "dev", "boot", "root")
"""Folders of a system in which no person's data are."""
NAMED = 8
"""The most files that a note names."""


class Private:
    """The files of a folder that stay here, unless the folder's own list names them with ``!``."""

    def __init__(self, includes: Sequence[str] = ()) -> None:
        self._included = pathspec.GitIgnoreSpec.from_lines(
            row[1:] for row in includes if row.startswith("!") and row[1:].strip() not in EVERYTHING
        )
        self.left_out: list[str] = []
        self.foreign: list[tuple[str, str]] = []
        """Links, each with the file of the system or of another person to which it leads."""

    def leaves_out(self, path: str) -> bool:
        """Return whether the name of a file or a folder (with a slash at its end) marks it; remember it if so."""
        found = _named(path) and not self._included.match_file(path)
        if found:
            self.left_out.append(path)
        return found

    def leaves_out_content(self, path: str, file: Path) -> bool:
        """Return whether a file begins like a private key, or leads to what is private; remember it if so."""
        if self._included.match_file(path):
            return False
        target = file.resolve().as_posix() if file.is_symlink() else ""
        if target and _of_others(Path(target), file):
            self.foreign.append((path, target))
        elif _named(target.lstrip("/")) or _is_key(file):
            self.left_out.append(path)
        else:
            return False
        return True

    def notes(self, list_name: str) -> list[str]:
        """Return what to print about what is left out."""
        links = [f"{path} -> {target}" for path, target in self.foreign]
        found = [_note("credentials, keys and histories have such names", self.left_out, list_name)]
        found += [_note("links lead to files of the system or of another person", links, list_name)]
        return [note for note in found if note]


def _note(why: str, found: list[str], list_name: str) -> str:
    if not found:
        return ""
    first = line(min(found).partition(" -> ")[0])
    shown = ", ".join(map(line, sorted(found)[:NAMED]))
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"not sent, because {why}: {shown}{more}; to send one, add a line such as !{first} to {list_name}"


def refuse_homes(root: Path) -> None:
    """Check that a folder isn't a person's home, one above it, or a system's.

    Raises:
        AccelError: it is; everything in it would be sent.
    """
    place = root.resolve()
    if place == Path("/"):
        raise _not_sent(root, "the root of all folders")
    for home in _homes():
        if home == place or place in home.parents:
            what = "your home folder" if home == place else f"above your home folder {home}"
            raise _not_sent(root, what)
    if str(place.parent) in ("/home", "/Users"):
        raise _not_sent(root, "a home folder")
    if place.parent == Path("/") and place.name in ("etc", "usr", "var", "root", "tmp", "boot"):
        raise _not_sent(root, "a folder of the system")


def _not_sent(root: Path, what: str) -> AccelError:
    return AccelError(
        f"{root} is {what}, and a job gets the whole folder of its script; move the script with its modules to a "
        "folder of their own, or name that with additional_args: {source_dir: ...}"
    )


def _homes() -> set[Path]:
    """Return the home folders of who runs this, by the environment and by the system."""
    found = {os.environ.get("HOME", "")}
    with suppress(KeyError):  # a container's user may have no entry
        found.add(pwd.getpwuid(os.getuid()).pw_dir)
    return {Path(home).resolve() for home in found if Path(home).is_absolute() and Path(home) != Path("/")}


def _of_others(target: Path, link: Path) -> bool:
    """Return whether a link leads out of its own person's files: into the system's, or into another home."""
    homes, top = _homes(), target.parts[1]
    inside = [home for home in homes if target.is_relative_to(home)]
    if inside:
        return False
    if top in SYSTEM:
        return True
    others = {Path(*target.parts[:3])} if top in ("home", "Users") else set[Path]()
    with suppress(KeyError, OSError):  # who has no entry has no home
        others.add(Path(pwd.getpwuid(target.stat().st_uid).pw_dir))
    own = link.parent.resolve()
    return any(
        home != Path("/") and target.is_relative_to(home) and not own.is_relative_to(home) for home in others - homes
    )


@cache
def _spec() -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(name.lower() for name in NAMES)


def _named(path: str) -> bool:
    return not path.lower().endswith(CODE) and _spec().match_file(path.lower())


def _is_key(file: Path) -> bool:
    """Return whether a file has a private key at its beginning, whatever it is called; code isn't looked at."""
    if file.name.lower().endswith(CODE):
        return False
    try:
        if file.stat().st_size > SMALL:
            return False
        with file.open("rb") as content:
            return KEY.search(content.read(BEGINNING)) is not None
    except OSError:
        return False
