"""Completion scripts for shells: made once from the commands' own words, so that a Tab runs nothing of ours."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .settings import Catalogue


def launch_words(catalogue: Catalogue) -> dict[str, list[str]]:
    """Return the flags of `launch` with the values of each."""
    found: dict[str, list[str]] = {"--help": []}
    for one in catalogue.settings:
        values = [str(choice) for choice in one.choices]
        if one.kind is bool and not one.switch and not one.many:
            values = ["true", "false"]
        if one.flag and not one.deprecated:
            found[f"--{one.name}"] = values
            found |= {one.off: []} if one.off else {}
    return found


def script(shell: str, program: str, commands: Mapping[str, Mapping[str, list[str]]]) -> str:
    """Return the script that teaches ``shell`` to complete ``program``: its commands, then their words and values."""
    return SHELLS[shell](program, commands)


def _bash(program: str, commands: Mapping[str, Mapping[str, list[str]]]) -> str:
    name = f"_{program.replace('-', '_')}_words"
    return (
        f"# bash completion of {program}: source this, or put it into /etc/bash_completion.d\n"
        f"{name}() {{\n"
        '    local word="${COMP_WORDS[COMP_CWORD]}" last="${COMP_WORDS[COMP_CWORD-1]}" words="" flags=""\n'
        '    if [ "$word" = "=" ]; then word=""\n'
        '    elif [ "$last" = "=" ]; then last="${COMP_WORDS[COMP_CWORD-2]}"; fi\n'
        '    if [[ "$last" == --* ]]; then last="${last:2}"; last="--${last//-/_}"; fi\n'
        '    if [ "$COMP_CWORD" -eq 1 ]; then\n'
        f'        words="{" ".join(commands)}"\n'
        '    else case "${COMP_WORDS[1]} $last" in\n'
        f"{_lines(commands, _BASH_VALUES)}"
        '    *) case "${COMP_WORDS[1]}" in\n'
        f"{_by_command(commands, _BASH_WORDS)}"
        '        esac; if [[ "$word" == -* ]]; then words="$flags"; fi ;;\n'
        "    esac; fi\n"
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))\n'
        "}\n"
        f"complete -o default -F {name} {program}\n"
    )


def _zsh(program: str, commands: Mapping[str, Mapping[str, list[str]]]) -> str:
    return (
        f"#compdef {program}\n"
        f"# zsh completion of {program}: put this as _{program} into a folder of $fpath\n"
        "local -a found flags\n"
        'local last="$words[CURRENT-1]"\n'
        "if [[ -prefix --*= ]]; then last=\"${PREFIX%%=*}\"; compset -P '*='; fi\n"
        '[[ "$last" == --* ]] && last="--${${last#--}//-/_}"\n'
        f"if (( CURRENT == 2 )); then found=({' '.join(commands)})\n"
        'else case "$words[2] $last" in\n'
        f"{_lines(commands, _ZSH_VALUES)}"
        '    *) case "$words[2]" in\n'
        f"{_by_command(commands, _ZSH_WORDS)}"
        '        esac; [[ "$PREFIX" == -* ]] && found=($flags) ;;\n'
        "    esac; fi\n"
        "(( $#found )) && compadd -a found || _files\n"
    )


_BASH_VALUES = '    "{command} {flag}") words="{values}" ;;\n'
_BASH_WORDS = '        {command}) words="{words}" flags="{flags}" ;;\n'
_ZSH_VALUES = '    "{command} {flag}") found=({values}) ;;\n'
_ZSH_WORDS = "        {command}) found=({words}) flags=({flags}) ;;\n"


def _lines(commands: Mapping[str, Mapping[str, list[str]]], form: str) -> str:
    """Return a line for each flag that has values to choose from."""
    return "".join(
        form.format(command=command, flag=flag, values=" ".join(values))
        for command, words in commands.items()
        for flag, values in words.items()
        if values
    )


def _by_command(commands: Mapping[str, Mapping[str, list[str]]], form: str) -> str:
    """Return a line for each command: its words that are no flags, and its flags."""
    return "".join(
        form.format(
            command=command,
            words=" ".join(word for word in words if not word.startswith("-")),
            flags=" ".join(word for word in words if word.startswith("-")),
        )
        for command, words in commands.items()
    )


def _fish(program: str, commands: Mapping[str, Mapping[str, list[str]]]) -> str:
    at = f"__{program.replace('-', '_')}_at"
    lines = [
        f"# fish completion of {program}: put this into ~/.config/fish/completions/{program}.fish",
        f"function {at} -d 'Whether these are the command and, if given, the word before'",
        "    set -l words (commandline -opc)",
        '    test "$words[2]" = "$argv[1]"; and contains -- "$argv[2]" "" $words[-1]',
        "end",
        f"complete -c {program} -n '{at} \"\"' -f -a '{' '.join(commands)}'",
    ]
    for command, words in commands.items():
        here = f"complete -c {program} -n '{at} {command}'"
        for word, values in words.items():
            if word.startswith("--"):
                lines.append(f"{here} -l {word[2:]}" + (f" -x -a '{' '.join(values)}'" if values else ""))
                continue
            lines.append(f"{here} -a {word}")
            if values:
                lines.append(f"complete -c {program} -n '{at} {command} {word}' -f -a '{' '.join(values)}'")
    return "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[str, Mapping[str, Mapping[str, list[str]]]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
