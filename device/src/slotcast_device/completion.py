"""Completion of `slotcast-device` in bash, zsh and fish.

The shell runs the command with the words typed so far and `_SLOTCAST_DEVICE_COMPLETE` set to its
own name, and gets one candidate a line; where there is none, it offers files. So the scripts below
know no option, and need not be installed again when options change.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slotcast_schemas.errors import UsageError

VARIABLE: Final = "_SLOTCAST_DEVICE_COMPLETE"
"""The environment variable by which a shell asks for completions."""

SCRIPTS: Final = {
    "bash": """\
_slotcast_device() {
    local IFS=$'\\n'
    COMPREPLY=($(_SLOTCAST_DEVICE_COMPLETE=bash slotcast-device \
"${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _slotcast_device slotcast-device
""",
    "zsh": """\
#compdef slotcast-device
_slotcast_device() {
    local -a found
    found=(${(f)"$(_SLOTCAST_DEVICE_COMPLETE=zsh slotcast-device \
"${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then _describe slotcast-device found; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _slotcast_device "$@"
else
    compdef _slotcast_device slotcast-device
fi
""",
    "fish": """\
complete --command slotcast-device --arguments \
"(env _SLOTCAST_DEVICE_COMPLETE=fish slotcast-device \
(commandline -opc)[2..] (commandline -ct) 2>/dev/null)"
""",
}
"""What a shell reads to complete commands, by the shell's name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that may stand where the cursor is, and what it means."""

    word: str
    meaning: str = ""

    def line(self, shell: str) -> str:
        """Give the line that the shell's script reads."""
        meaning = " ".join(self.meaning.split())
        if shell == "bash" or not meaning:
            return self.word
        return f"{self.word}:{meaning}" if shell == "zsh" else f"{self.word}\t{meaning}"


class ShowCompletion(argparse.Action):
    """`--show-completion [SHELL]`: print the script and end."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **_: Any) -> None:
        """Print the script of the shell given, or of the user's."""
        sys.stdout.write(SCRIPTS[_choose_shell(given[1])])
        parser.exit()


class InstallCompletion(argparse.Action):
    """`--install-completion [SHELL]`: write the script where the shell looks for it, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **_: Any) -> None:
        """Write the script of the shell given, or of the user's; say where, and what is left."""
        shell = _choose_shell(given[1])
        path = script_path(shell)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SCRIPTS[shell])
        except OSError as exc:
            raise UsageError(
                f"--install-completion: cannot write {path} ({exc.strerror});"
                " `--show-completion` prints the script"
            ) from exc
        sys.stdout.write(f"{path}\n")
        if shell == "zsh":
            sys.stdout.write(f"~/.zshrc must have, before compinit: fpath=({path.parent} $fpath)\n")
        sys.stdout.write("It works in shells that start from now on.\n")
        parser.exit()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--show-completion` and `--install-completion`."""
    shells = list(SCRIPTS)
    for name, action, text in (
        (
            "--install-completion",
            InstallCompletion,
            "install completion for a shell, yours if none",
        ),
        ("--show-completion", ShowCompletion, "print the script for it"),
    ):
        parser.add_argument(name, action=action, nargs="?", choices=shells, help=text)


def answer(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """Give what the shell is to be told; None if no shell asks.

    Args:
        parser: of the whole command line.
        words: those typed after the command's name; the last is not complete, and may be empty.
    """
    shell = os.environ.get(VARIABLE)
    if shell not in SCRIPTS:
        return None
    return "".join(f"{found.line(shell)}\n" for found in candidates(parser, words))


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[Candidate]:
    """Give what may stand in place of the last word; none where any text or file may."""
    *typed, last = words or [""]
    awaited: argparse.Action | None = None
    for word in typed:
        if awaited is not None:
            awaited = None
        elif word.startswith("-"):
            awaited = _find_awaiting_option(parser, word)
        else:
            parser = _list_commands(parser).get(word, parser)
    if awaited is not None:
        found = [Candidate(str(choice)) for choice in awaited.choices or ()]
    elif last.startswith("-"):
        found = _list_options(parser)
    else:
        found = _list_command_names(parser) or _list_options(parser)
    return [one for one in found if one.word.startswith(last)]


# argparse shows nowhere else what it was told, so its own lists are read (Python 3.11 to 3.13).


def _find_awaiting_option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """Give the option that takes the next word, if `word` is one that does."""
    action = parser._option_string_actions.get(word)  # noqa: SLF001 - see above
    return None if action is None or action.nargs == 0 else action


def _list_options(parser: argparse.ArgumentParser) -> list[Candidate]:
    actions = parser._actions  # noqa: SLF001 - see above
    return [
        Candidate(action.option_strings[-1], action.help or "")
        for action in actions
        if action.option_strings and action.help is not argparse.SUPPRESS
    ]


def _find_subparsers(parser: argparse.ArgumentParser) -> list[Any]:
    actions = parser._actions  # noqa: SLF001 - see above
    return [action for action in actions if isinstance(action.choices, dict)]


def _list_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: one for action in _find_subparsers(parser) for name, one in action.choices.items()
    }


def _list_command_names(parser: argparse.ArgumentParser) -> list[Candidate]:
    return [
        Candidate(choice.dest, choice.help or "")
        for action in _find_subparsers(parser)
        for choice in action._choices_actions  # noqa: SLF001 - see above
    ]


def script_path(shell: str) -> Path:
    """Give where a shell looks for the script of one user."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "slotcast-device",
        "zsh": data / "zsh" / "site-functions" / "_slotcast-device",
        "fish": config / "fish" / "completions" / "slotcast-device.fish",
    }[shell]


def _choose_shell(given: str | None) -> str:
    shell = given or Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        raise UsageError(f"completion: expected one of {', '.join(SCRIPTS)}, got {shell or 'none'}")
    return shell
