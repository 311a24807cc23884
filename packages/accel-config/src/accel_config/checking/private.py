"""Which files never leave a machine by themselves: credentials, keys, histories and states, and whole homes.

They are known by their names or by how they begin. Whatever sends or carries a folder asks here.
"""

from __future__ import annotations

import os
import re
from functools import cache

from accel_config.system import calls

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
    *("secrets/", "token", "token.txt", "*[-_]token", "*[-_]token.txt", "*.token", "api[-_]key*.txt"),
    # Histories and states of programs.
    *(".*_history", "*_history.txt", "fish_history", ".lesshst", ".viminfo", ".wget-hsts", ".ipython/", ".jupyter/"),
    *("**/.local/share/", "**/.local/state/", ".mozilla/", ".thunderbird/", "**/.config/google-chrome/"),
    *("**/.config/chromium/", "**/Library/Keychains/", ".bash_sessions/", ".zsh_sessions/"),
    # Shells and editors of a person.
    *(".bash_aliases", ".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".vscode-server/", ".cache/"),
)
"""In git's syntax, in any letter case. Python's own modules may be called like some: see `CODE`."""
CODE = (".py", ".pyi", ".ipynb")
KEY = re.compile(
    rb"^\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"  # after a comment, or attributes of the key
    rb'|"private_key"\s*:\s*"[^"]{40}'  # of a service account
    # Tokens of hubs, models, code and clouds, alone in a line or as the value of a name.
    rb"""|^[ \t]*(?:[\w. -]+[=:][ \t]*)?["']?(?:hf_[A-Za-z]{30}|sk-[\w-]{20}"""
    rb"""|gh[opsu]_\w{30}|github_pat_\w{30}|glpat-[\w-]{20}|xox[abp]-[\w-]{20}"""
    rb"""|AKIA[A-Z0-9]{16}|AIza[\w-]{35})[\w-]*["']?[ \t]*$""",
    re.MULTILINE,
)
BEGINNING = 4096
"""Bytes of a file in which a key or a token begins."""
SMALL = 100_000
"""A larger file isn't a key."""
SYSTEM = ("etc", "usr", "var", "root", "tmp", "boot")
"""Folders of a system, none of which is a project."""


def named(path: str) -> bool:
    """Return whether the name of a file, or of a folder (with a slash at its end), is a private one's."""
    path = path.lower()
    return not path.endswith(CODE) and _pattern().search(path) is not None


def is_key(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has a private key or token at its beginning, whatever its name; code isn't looked at."""
    if os.fspath(path).lower().endswith(CODE):
        return False
    try:
        if os.stat(path).st_size > SMALL:
            return False
        with open(path, "rb") as content:
            return KEY.search(content.read(BEGINNING)) is not None
    except OSError:
        return False


def too_wide(root: str | os.PathLike[str]) -> str:
    """Return what a folder is if it is a person's home, one above it, or a system's; else nothing."""
    place = os.path.realpath(root)
    above, name = os.path.split(place)
    if place == "/":
        return "the root of all folders"
    for home in homes():
        if place == home:
            return "your home folder"
        if home.startswith(os.path.join(place, "")):
            return f"above your home folder {home}"
    if above in ("/home", "/Users"):
        return "a home folder"
    return "a folder of the system" if above == "/" and name in SYSTEM else ""


def homes() -> set[str]:
    """Return the home folders of who runs this, by the environment and by the system."""
    found = {os.environ.get("HOME", ""), calls.home_of()}
    return {os.path.realpath(home) for home in found if os.path.isabs(home) and home != "/"}


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(map(_regex, NAMES)))


def _regex(name: str) -> str:
    """Return the pattern for a name of the list: at any depth, and with all that is below it."""
    body = re.escape(name.lower().removeprefix("**/").rstrip("/")).replace(r"\*", "[^/]*").replace(r"\[\-_\]", "[-_]")
    return f"(?:^|/){body}" + ("/" if name.endswith("/") else r"(?:/|\Z)")
