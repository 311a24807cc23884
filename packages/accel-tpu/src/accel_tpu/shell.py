"""What the workers' shell is given: text, made here, run there. Nothing in it is interpreted on this machine."""

from __future__ import annotations

import re
import shlex

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = "/usr/share"  # where `tpu-config` has always run its commands
LONGEST = 131_071  # bytes that Linux takes as one argument, and ssh's whole command is one
# Hugging Face's development version, as their own command names it.
DEVELOPMENT = "git+https://github.com/huggingface/accelerate.git"
# What PEP 440 allows a version to be.
VERSION = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?\d*)?"
    r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?([-_.]?dev[-_.]?\d*)?(\+[a-z\d]+([-_.][a-z\d]+)*)?",
    re.IGNORECASE,
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def steps(*commands: str) -> str:
    """Join commands for one shell: what one of them sets is there for the next, and the first that fails ends it.

    Each but the last is evaluated by itself, so that no comment, quote or continuation reaches into the next. The
    last stands as it was written.
    """
    if not commands:
        return ""
    *first, last = commands
    return "; ".join([*(f"eval {shlex.quote(command)} || exit" for command in first), last])


def in_folder(text: str) -> str:
    """Run ``text`` in the folder that `tpu-config` has always used."""
    return f"cd {FOLDER} || exit; {text}" if text else f"cd {FOLDER}"


def script(content: bytes, name: str) -> str:
    """Return text that runs ``content``, a script, on the worker: by its shebang, else by the login shell.

    Raises:
        AccelError: it is no script but a binary file; ``name`` is for the message.
    """
    if b"\0" in content:
        raise AccelError(f"{name} is no shell script: it holds bytes of value 0")
    text = _unix(content).decode("utf-8", "surrogateescape")
    return (
        "f=$(mktemp) || exit; trap 'rm -f \"$f\"' EXIT; "
        f'printf %s {shlex.quote(text)} >"$f" || exit; {_interpreter(text)} "$f"'
    )


def _unix(content: bytes) -> bytes:
    """Return a script from Windows without the mark at its beginning and the CRs, which no shell would skip."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.count(b"\n")
    return content.replace(b"\r\n", b"\n") if lines == content.count(b"\r\n") else content


def _interpreter(text: str) -> str:
    """Return the words that run a script, its first line read as the kernel does: a path, then one argument."""
    first, _, _ = text.partition("\n")
    words = first.removeprefix("#!").strip().split(None, 1) if first.startswith("#!") else []
    return shlex.join(words) if words else '"${SHELL:-sh}"'


def install(version: str) -> str:
    """Return the command that installs Hugging Face's library: ``latest``, ``dev`` or a version.

    Raises:
        AccelError: ``version`` is none of them.
    """
    if version == "latest":
        return "pip install accelerate -U"
    if version == "dev":
        return f"pip install {DEVELOPMENT}"
    if not VERSION.fullmatch(version):
        raise AccelError(f"--accelerate_version {version!r} is no version: give latest, dev, or one like 1.2.0")
    return f"pip install {shlex.quote(f'accelerate=={version}')}"


def variables(pairs: Sequence[str], origin: str) -> dict[str, str]:
    """Read ``KEY=VALUE`` pairs.

    Raises:
        AccelError: one has no ``=``, or a name that no shell would take.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not NAME.fullmatch(name):
            without = "" if equals else " without ="
            raise AccelError(f"{origin}: a variable for the workers is KEY=VALUE, not {name!r}{without}")
        found[name] = value
    return found


def prefix(env: Mapping[str, str], *, sudo: bool) -> str:
    """Return the words before a program that give it variables and make it root's; sudo drops what is exported."""
    words = ["sudo"] if sudo else []
    if env:
        words += ["env", *(f"{name}={value}" for name, value in env.items())]
    return shlex.join(words) + " " if words else ""


def plain(text: str, env: Mapping[str, str], *, sudo: bool) -> str:
    """Return ``text`` for the login shell, with variables and as root where that is asked for."""
    before = prefix(env, sudo=sudo)
    return f'{before}"$SHELL" -c {shlex.quote(text)}' if before else text


# The other end of `relay`. Standard input is the lifeline: a first line lets the command begin, later ones name
# signals for it, and its end means that nobody is there any more. The command runs in the group of this shell, which
# outlives every signal but KILL; a shell would start a background command with INT ignored, so the one in the
# background is the one that listens.
LOOKED_AFTER = """\
trap : INT TERM HUP QUIT USR1 USR2
exec 3<&0
echo "$0 ready" >&2
IFS= read -r go <&3 && [ "$go" = go ] || exit 254
echo "$0 started $$ $(hostname)" >&2
( trap "" INT TERM HUP QUIT USR1 USR2
  while read -r name; do kill -s "$name" -- -$$; done
  kill -s TERM -- -$$; sleep 5; kill -s KILL -- -$$ ) <&3 >/dev/null 2>&1 &
listener=$!
"${2:-sh}" -c "$1" </dev/null 3<&-
echo "$0 ended $?" >&2
exec 2>/dev/null
kill -s KILL $listener"""


def looked_after(text: str, mark: str, env: Mapping[str, str], *, sudo: bool) -> str:
    """Return ``text`` for the login shell so that `relay` learns of its beginning and end and can signal it.

    Lines that begin with ``mark`` on standard error are for the relay: ``ready``, ``started GROUP HOST``,
    ``ended STATUS``.
    """
    words = f'setsid -w sh -c {shlex.quote(LOOKED_AFTER)} {shlex.quote(mark)} {shlex.quote(text)} "$SHELL"'
    return f"exec {prefix(env, sudo=sudo)}{words}"


def fitting(text: str) -> str:
    """Return ``text`` if it fits into one ssh command.

    Raises:
        AccelError: it doesn't.
    """
    size = len(text.encode("utf-8", "surrogateescape"))
    if size > LONGEST:
        raise AccelError(
            f"the commands come to {size} bytes, and one ssh command takes {LONGEST}: copy the file to the workers "
            "(gcloud compute tpus tpu-vm scp) and run it there"
        )
    if "\0" in text:
        raise AccelError("a command can't hold a byte of value 0")
    return text
