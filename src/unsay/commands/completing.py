"""`unsay completion`: a script that completes commands, options and their values, for bash, zsh or fish.

The script holds all that there is to complete, so that pressing Tab starts no Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from unsay.errors import BadInput

_CHOICE = re.compile(r"[a-z0-9.,-]+(\|[a-z0-9.,-]+)+")


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a script that completes this program's commands and options in your shell.

    bash: unsay completion bash > ~/.local/share/bash-completion/completions/unsay;
    zsh: unsay completion zsh > _unsay in a folder of $fpath;
    fish: unsay completion fish > ~/.config/fish/completions/unsay.fish.
    """
    writers: dict[str, Callable[[list[Level]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in writers:
        raise BadInput(f"no completion for {shell!r}: use one of {', '.join(writers)}")
    print(writers[shell](list(levels("unsay", context.find_root().command))), end="")


@dataclass(frozen=True)
class Option:
    """An option as it is typed, what it does, and what may follow it: None nothing, () anything."""

    names: tuple[str, ...]
    help: str
    values: tuple[str, ...] | None


@dataclass(frozen=True)
class Level:
    """A command by its full name, with the commands under it (name and help) and its options."""

    name: str
    commands: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]


def levels(name: str, command: Any) -> Iterator[Level]:
    """The command and all those under it."""
    children: dict[str, Any] = getattr(command, "commands", {})
    names = command.list_commands(None) if children else []
    options = [_option(one) for one in command.params if one.param_type_name == "option"]
    options.append(Option(("--help",), "Show this message and exit.", None))
    texts = tuple((child, children[child].get_short_help_str(70)) for child in names)
    yield Level(name, texts, tuple(options))
    for child in names:
        yield from levels(f"{name} {child}", children[child])


def _option(parameter: Any) -> Option:
    names = (*parameter.opts, *parameter.secondary_opts)
    if parameter.is_flag:
        return Option(names, parameter.help or "", None)
    choices = parameter.metavar or ""
    return Option(names, parameter.help or "", tuple(choices.split("|")) if _CHOICE.fullmatch(choices) else ())


# --- bash -------------------------------------------------------------------------------------------------------------

_BASH = """\
# bash completion for unsay; written by: unsay completion bash
_unsay() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} at=unsay values= commands= options= i
    COMPREPLY=()
    [[ $current == = ]] && current=
    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD-2]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
            @LEVELS@) at="$at ${COMP_WORDS[i]}" ;;
        esac
    done
    case "$at $previous" in
@VALUES@
    esac
    case "$at" in
@CASES@
    esac
    if [[ -n $values ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$commands" -- "$current"))
    fi
}
complete -o bashdefault -o default -F _unsay unsay
"""


def bash(all_levels: list[Level]) -> str:
    """The script for bash; where it has nothing to offer, bash offers files."""
    values, cases = [], []
    for level in all_levels:
        for option in level.options:
            if option.values is not None:
                after = "|".join(f'"{level.name} {name}"' for name in option.names)
                offered = f'values="{" ".join(option.values)}"' if option.values else "return"
                values.append(f"        {after}) {offered} ;;")
        commands = " ".join(name for name, _ in level.commands)
        options = " ".join(name for option in level.options for name in option.names)
        cases.append(f'        "{level.name}") commands="{commands}" options="{options}" ;;')
    return _filled(_BASH, all_levels, values, cases)


# --- zsh --------------------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef unsay
# zsh completion for unsay; written by: unsay completion zsh
_unsay() {
    local at=unsay i
    local -a values commands options
    for ((i = 2; i < CURRENT; i++)); do
        case "$at ${words[i]}" in
            (@LEVELS@) at="$at ${words[i]}" ;;
        esac
    done
    case "$at ${words[CURRENT-1]}" in
@VALUES@
    esac
    case "$at" in
@CASES@
    esac
    if (( $#values )); then
        compadd -a values
    elif [[ $PREFIX == -* ]]; then
        _describe -o option options
    elif (( $#commands )); then
        _describe command commands
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _unsay "$@"
else
    compdef _unsay unsay
fi
"""


def zsh(all_levels: list[Level]) -> str:
    """The script for zsh: as a file `_unsay` on its path of functions, or to be read by its settings."""
    values, cases = [], []
    for level in all_levels:
        for option in level.options:
            if option.values is not None:
                after = "|".join(f'"{level.name} {name}"' for name in option.names)
                offered = f"values=({' '.join(option.values)})" if option.values else "_files; return"
                values.append(f"        ({after}) {offered} ;;")
        commands = " ".join(_quoted(f"{name}:{text}") for name, text in level.commands)
        options = " ".join(_quoted(f"{name}:{option.help}") for option in level.options for name in option.names)
        cases.append(f'        ("{level.name}") commands=({commands}) options=({options}) ;;')
    return _filled(_ZSH, all_levels, values, cases)


# --- fish -------------------------------------------------------------------------------------------------------------

_FISH = """\
# fish completion for unsay; written by: unsay completion fish
function __unsay_at
    set -l at unsay
    for word in (commandline -opc)[2..-1]
        if contains -- "$at $word" @LEVELS@
            set at "$at $word"
        end
    end
    test "$at" = "$argv"
end
@CASES@
"""


def fish(all_levels: list[Level]) -> str:
    """The script for fish."""
    lines = []
    for level in all_levels:
        here = f"complete -c unsay -n {_quoted(f'__unsay_at {level.name}')}"
        lines += [f"{here} -f -a {name} -d {_quoted(text)}" for name, text in level.commands]
        for option in level.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            follows = "" if option.values is None else " -r"
            follows = f" -x -a {_quoted(' '.join(option.values))}" if option.values else follows
            lines.append(f"{here} {names}{follows} -d {_quoted(option.help)}")
    known = " ".join(_quoted(level.name) for level in all_levels[1:])
    return _FISH.replace("@LEVELS@", known).replace("@CASES@", "\n".join(lines))


def _filled(script: str, all_levels: list[Level], values: list[str], cases: list[str]) -> str:
    known = "|".join(f'"{level.name}"' for level in all_levels[1:])
    return script.replace("@LEVELS@", known).replace("@VALUES@", "\n".join(values)).replace("@CASES@", "\n".join(cases))


def _quoted(text: str) -> str:
    """Text in single quotes, its own turned into what all three shells read as one."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
