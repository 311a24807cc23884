"""Completion scripts for shells, made from the declarations of flags and arguments; a Tab starts no process."""

from __future__ import annotations

from accel_config.showing.help import topics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_config.settings.declaration import Setting
    from accel_config.settings.index import Catalogue

    Words = Mapping[str, Mapping[str, list[str]]]
    """By command, its words, and the words that can follow each of them."""


def launch_words(catalogue: Catalogue) -> dict[str, list[str]]:
    """Return the flags of `launch` with the values of each."""
    found = {"--help": topics(catalogue), "--version": list[str]()}
    for one in catalogue.settings:
        if not one.flag or one.deprecated:
            continue
        # A switch can take a value, but the next word is rather the script.
        found[f"--{one.name}"] = [] if one.switch else _values(one)
        found |= {one.off: []} if one.off else {}
    return found


def _values(one: Setting) -> list[str]:
    return ["true", "false"] if one.kind is bool and not one.many else list(one.known)


def argument_words(parser: ArgumentParser) -> dict[str, list[str]]:
    """Return the flags of a command with the values of each, and its own commands with their flags."""
    found: dict[str, list[str]] = {}
    for action in parser._actions:  # argparse has no public way to list them
        offered: Any = action.choices or ()
        choices = [str(choice) for choice in offered]
        flags = [flag for flag in action.option_strings if flag.startswith("--")]
        spelled = {flag.replace("-", "_"): flag for flag in sorted(flags)}  # with underscores where there is a choice
        found |= dict.fromkeys(spelled.values() if action.option_strings else choices, choices if flags else [])
        if hasattr(offered, "values"):  # the action's own commands, each with its parser
            for command in offered.values():
                found |= argument_words(command)
    return found


def script(shell: str, programs: Sequence[str], commands: Words) -> str:
    """Return the script with which ``shell`` completes ``programs``, which have the same ``commands``."""
    return SHELLS[shell](programs, commands)


def _bash(programs: Sequence[str], commands: Words) -> str:
    name = f"_{programs[0]}_words"
    return (
        f"# bash completion of {' and '.join(programs)}: source this file, or put it into /etc/bash_completion.d\n"
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
        f"complete -o default -F {name} {' '.join(programs)}\n"
    )


def _zsh(programs: Sequence[str], commands: Words) -> str:
    return (
        f"#compdef {' '.join(programs)}\n"
        f"# zsh completion of {' and '.join(programs)}: put this file as _{programs[0]} into a folder of $fpath\n"
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


def _lines(commands: Words, form: str) -> str:
    """Return a line for each word that other words can follow; the scripts look flags up with underscores."""
    return "".join(
        form.format(command=command, flag=word[:2] + word[2:].replace("-", "_"), values=" ".join(values))
        for command, words in commands.items()
        for word, values in words.items()
        if values
    )


def _by_command(commands: Words, form: str) -> str:
    """Return a line for each command: its own commands and other words, and its flags."""
    return "".join(
        form.format(
            command=command,
            words=" ".join(word for word in words if not word.startswith("-")),
            flags=" ".join(word for word in words if word.startswith("-")),
        )
        for command, words in commands.items()
    )


def _fish(programs: Sequence[str], commands: Words) -> str:
    first, *others = programs
    at = f"__{first}_at"
    lines = [
        f"# fish completion of {' and '.join(programs)}: put this file into ~/.config/fish/conf.d",
        f"function {at} -d 'Whether these are the command and, if given, the word before'",
        "    set -l words (commandline -opc)",
        '    test "$words[2]" = "$argv[1]"; and contains -- "$argv[2]" "" $words[-1]',
        "end",
        *(f"complete -c {other} -w {first}" for other in others),
        f"complete -c {first} -n '{at} \"\"' -f -a '{' '.join(commands)}'",
    ]
    for command, words in commands.items():
        begin = f"complete -c {first} -n '{at} {command}'"
        for word, values in words.items():
            if word.startswith("--"):
                lines.append(f"{begin} -l {word[2:]}" + (f" -x -a '{' '.join(values)}'" if values else ""))
                continue
            lines.append(f"{begin} -a {word}")
            if values:
                lines.append(f"complete -c {first} -n '{at} {command} {word}' -f -a '{' '.join(values)}'")
    return "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[Sequence[str], Words], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
