"""The text for the workers' login shell. Nothing in it is interpreted on this machine."""

from __future__ import annotations

import re
import shlex

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = "/usr/share"  # Hugging Face's `tpu-config` runs its commands there
LONGEST = 131_071  # bytes that Linux allows in one argument; ssh's whole command is one argument
MOST = 120_000  # bytes of all variables, which are one variable of a relay: Linux allows a little more
# Hugging Face's development version, as their own command names it.
DEVELOPMENT = "git+https://github.com/huggingface/accelerate.git"
# A version in the syntax of PEP 440.
VERSION = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?\d*)?"
    r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?([-_.]?dev[-_.]?\d*)?(\+[a-z\d]+([-_.][a-z\d]+)*)?",
    re.IGNORECASE,
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def steps(*commands: str) -> str:
    """Join commands for one shell: each sees the variables and the folder of the one before, and a failure ends all.

    Each but the last is evaluated by itself, so that no comment, quote or continuation reaches into the next. The
    last one isn't changed.
    """
    if not commands:
        return ""
    *first, last = commands
    return "; ".join([*(f"eval {shlex.quote(command)} || exit" for command in first), last])


def in_folder(text: str) -> str:
    """Return ``text`` preceded by a change to `FOLDER`."""
    return f"cd {FOLDER} || exit; {text}" if text else f"cd {FOLDER}"


def script(content: bytes, name: str) -> str:
    """Return text that runs the script ``content`` on the worker: with its shebang's interpreter, or the login shell.

    Raises:
        AccelError: the content is binary; the message calls it ``name``.
    """
    if b"\0" in content:
        raise AccelError(f"{name} isn't a shell script: it contains bytes of value 0")
    text = _unix(content).decode("utf-8", "surrogateescape")
    return (
        "f=$(mktemp) || exit; trap 'rm -f \"$f\"' EXIT; "
        f'printf %s {shlex.quote(text)} >"$f" || exit; {_interpreter(text)} "$f"'
    )


def _unix(content: bytes) -> bytes:
    """Return a script from Windows without its byte-order mark and CRs, which shells don't ignore."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.count(b"\n")
    return content.replace(b"\r\n", b"\n") if lines == content.count(b"\r\n") else content


def _interpreter(text: str) -> str:
    """Return the words that run a script. As in the kernel, its first line is a path and at most one argument."""
    first, _, _ = text.partition("\n")
    words = first.removeprefix("#!").strip().split(None, 1) if first.startswith("#!") else []
    return shlex.join(words) if words else '"${SHELL:-sh}"'


def install(version: str) -> tuple[str, str]:
    """Return the commands that prepare a worker: Hugging Face's library of a version, and our package for `launch`.

    Without our package the worker still runs what doesn't come from us, so that isn't an error.

    Raises:
        AccelError: ``version`` is none of ``latest``, ``dev`` and a version.
    """
    from accel_config.showing.installing import version as installed

    own = installed("accel-tpu", "")
    ours = f"accel-tpu=={own}" if own else "accel-tpu"
    lacking = f"accel: pip found no {ours}; launch --tpu_cluster needs it here: install it from a wheel"
    return _library(version), f"python3 -m pip install {ours} || echo {shlex.quote(lacking)} >&2"


def _library(version: str) -> str:
    """Return the command that installs Hugging Face's library: ``latest``, ``dev`` or a version.

    Raises:
        AccelError: ``version`` isn't one of them.
    """
    if version == "latest":
        return "pip install accelerate -U"
    if version == "dev":
        return f"pip install {DEVELOPMENT}"
    if not VERSION.fullmatch(version):
        raise AccelError(
            f"--accelerate_version {version!r} isn't a valid version; give latest, dev, or a number such as 1.2.0"
        )
    return f"pip install {shlex.quote(f'accelerate=={version}')}"


def variables(pairs: Sequence[str], origin: str) -> dict[str, str]:
    """Return the variables of ``KEY=VALUE`` pairs.

    Raises:
        AccelError: a pair has no ``=``, or its name isn't valid in a shell.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not NAME.fullmatch(name):
            without = "" if equals else " without ="
            raise AccelError(f"{origin}: a variable for the workers must be KEY=VALUE, not {name!r}{without}")
        found[name] = value
    return found


def prefix(env: Mapping[str, str], *, sudo: bool) -> str:
    """Return the words before a program that set its variables and run it as root; sudo drops exported variables."""
    words = ["sudo"] if sudo else []
    if env:
        words += ["env", *(f"{name}={value}" for name, value in env.items())]
    return shlex.join(words) + " " if words else ""


def plain(text: str, env: Mapping[str, str], *, sudo: bool) -> str:
    """Return ``text`` for the login shell, with variables, and as root with ``sudo``."""
    before = prefix(env, sudo=sudo)
    return f'{before}"$SHELL" -c {shlex.quote(text)}' if before else text


# Variables come by standard input, because everybody on this machine and the worker can read command lines. Each is a
# line, and `go` ends them; without it nothing may begin. `$(...)` strips line breaks from the end of a value, so a
# letter protects them.
RECEIVED = """\
while IFS= read -r _accel && [ "$_accel" != go ]; do
  _value=$(printf "%bx" "${_accel#*=}") && export "${_accel%%=*}=${_value%x}" || exit 254
done"""
FED = f"""\
{RECEIVED}
[ "$_accel" = go ] || exit 254
exec "${{2:-sh}}" -c "$1" </dev/null"""

# The remote end of `relay`. Standard input comes from the relay: its first lines are variables and let the command
# begin, later lines name signals for it, and its end means that the relay is gone. The command runs in the group of
# this shell, which survives every signal but KILL. A shell starts background commands with INT ignored, so the
# listener is the one in the background.
SUPERVISED = f"""\
trap : INT TERM HUP QUIT USR1 USR2
exec 3<&0
echo "$0 ready" >&2
{RECEIVED} <&3
[ "$_accel" = go ] || exit 254
echo "$0 started $$ $(hostname)" >&2
( trap "" INT TERM HUP QUIT USR1 USR2
  while read -r name; do kill -s "$name" -- -$$; done
  kill -s TERM -- -$$; sleep 5; kill -s KILL -- -$$ ) <&3 >/dev/null 2>&1 &
listener=$!
"${{2:-sh}}" -c "$1" </dev/null 3<&-
echo "$0 ended $?" >&2
exec 2>/dev/null
kill -s KILL $listener"""


def carried(env: Mapping[str, str]) -> str:
    """Return the variables as one text for the environment of a relay.

    Raises:
        AccelError: they are too long, or a value contains a byte of value 0.
    """
    import json

    if any("\0" in value for value in env.values()):
        raise AccelError("a variable for the workers can't contain a byte of value 0")
    text = json.dumps(env)
    if len(text) > MOST:
        raise AccelError(f"the variables for the workers have {len(text)} bytes, more than {MOST}; use a file")
    return text


def lines(env: Mapping[str, str]) -> bytes:
    """Return what `RECEIVED` reads: the variables and the word that lets the command begin."""
    escaped = (f"{name}=" + value.replace("\\", "\\\\").replace("\n", "\\n") for name, value in env.items())
    return "".join(f"{line}\n" for line in (*escaped, "go")).encode("utf-8", "surrogateescape")


def fed(text: str, *, sudo: bool) -> str:
    """Return ``text`` for the login shell, with the variables that come by standard input."""
    return f'{prefix({}, sudo=sudo)}sh -c {shlex.quote(FED)} sh {shlex.quote(text)} "$SHELL"'


def supervised(text: str, mark: str, *, sudo: bool) -> str:
    """Return ``text`` for the login shell, wrapped so that `relay` sees its start and end and can send it signals.

    Lines that begin with ``mark`` on standard error are for the relay: ``ready``, ``started GROUP HOST``,
    ``ended STATUS``.
    """
    words = f'setsid -w sh -c {shlex.quote(SUPERVISED)} {shlex.quote(mark)} {shlex.quote(text)} "$SHELL"'
    return f"exec {prefix({}, sudo=sudo)}{words}"


def fitting(text: str) -> str:
    """Return ``text`` if it fits into one ssh command.

    Raises:
        AccelError: it is too long, or contains a byte of value 0.
    """
    size = len(text.encode("utf-8", "surrogateescape"))
    if size > LONGEST:
        raise AccelError(
            f"the commands have {size} bytes, and one ssh command can have {LONGEST}; copy the file to the workers "
            "(gcloud compute tpus tpu-vm scp) and run it there"
        )
    if "\0" in text:
        raise AccelError("a command can't contain a byte of value 0")
    return text
