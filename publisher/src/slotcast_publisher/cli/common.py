"""What all commands share: options, output for people and for programs, progress, passphrase."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer

from slotcast_schemas.environment import secret
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from slotcast_publisher.repository import Repository

PASSPHRASE_VARIABLE: Final = "SLOTCAST_PASSPHRASE"  # noqa: S105 - a name, not a secret
"""The environment variable that gives the passphrase of key files, instead of asking for it."""

PIN_VARIABLE: Final = "SLOTCAST_PIN"
"""The environment variable that gives the PIN of a hardware token, instead of asking for it."""

_LINE_EVERY_S: Final = 5.0
"""The seconds between two lines of progress where the output is no terminal."""

Repo = Annotated[Path, typer.Argument(help="Folder of the repository.", show_default=False)]
Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
Version = Annotated[str, typer.Argument(help="PEP 440 version.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Brokers = Annotated[
    list[str] | None,
    typer.Option("--broker", help="mqtt://[USER:PASSWORD@]HOST[:PORT] or mqtts://...; repeatable."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE; repeatable.")]


def open_repository(path: Path, *, clock_is_right: bool = False) -> Repository:
    """Open a repository whose keys may be encrypted."""
    # It brings TUF and what signs, and help and errors are said without.
    from slotcast_publisher.repository import Repository

    return Repository(
        path,
        passphrase=ask_passphrase(),
        pin=_Secret("PIN", PIN_VARIABLE),
        clock_is_right=clock_is_right,
    )


class _Secret:
    """Takes a secret from the environment, or asks once."""

    def __init__(self, kind: str, variable: str, *, is_new: bool = False) -> None:
        self._kind = kind
        self._is_new = is_new
        self._known = secret(variable)

    def __call__(self, purpose: str) -> str | None:
        if self._known is None and sys.stdin.isatty():
            self._known = getpass.getpass(f"{self._kind} for {purpose}: ", sys.stderr)
            if self._is_new and getpass.getpass("Once more: ", sys.stderr) != self._known:
                raise UsageError("the two passphrases differ; nothing was made")
        return self._known


def ask_passphrase(*, is_new: bool = False) -> _Secret:
    """Give what asks for the passphrase when a key needs it."""
    return _Secret("Passphrase", PASSPHRASE_VARIABLE, is_new=is_new)


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read KEY=VALUE options.

    Raises:
        UsageError: one is not of that form.
    """
    found = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option}: expected KEY=VALUE, got {text!r}")
        found[key] = value
    return found


def emit(as_json: bool, fields: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Print the result: fields for programs, or lines for people, in which nobody's text can move
    the terminal.

    Args:
        as_json: whether programs are to read it.
        fields: the result for programs.
        lines: the result for people.
    """
    if as_json:
        sys.stdout.write(json.dumps(fields, default=_plain) + "\n")
        return
    for line in lines:
        sys.stdout.write(printable(line) + "\n")


def say_error(exc: SlotcastError) -> None:
    """Print one line: who must act is in the exit code, what happened is here."""
    text = printable(" ".join(str(exc).split()))
    sys.stderr.write(f"slotcast: {text} [{exc.reason}]\n")


def size(size_bytes: float) -> str:
    """Give a size as people read it."""
    value, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


class Advance(Protocol):
    """Moves a progress display on."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` bytes of `total` are done."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Advance]:
    """Show a bar with rate and time left on a terminal, plain lines elsewhere, on stderr."""
    if quiet:
        yield _Nothing()
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        with _bars() as bar:
            yield _Bars(bar)


def _bars() -> Progress:
    """Make bars on a terminal; what draws them is imported only where they are seen."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Nothing:
    """Shows nothing."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take it and say nothing."""


class _Bars:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)


class _Lines:
    """A line every few seconds and one at the end of each task."""

    def __init__(self) -> None:
        self._starts: dict[str, tuple[float, int]] = {}
        self._last_s = time.monotonic()
        self._ended: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        start_s, start_bytes = self._starts.setdefault(what, (now_s, done))
        is_end = done >= total and what not in self._ended
        if not is_end and (now_s - self._last_s < _LINE_EVERY_S or done >= total):
            return
        if is_end:
            self._ended.add(what)
        self._last_s = now_s
        rate = (done - start_bytes) / max(now_s - start_s, 1e-3)
        left_s = (total - done) / rate if rate > 0 else 0
        sys.stderr.write(
            f"{what}: {size(done)} of {size(total)}, {size(rate)}/s, {left_s:.0f} s left\n"
        )
        sys.stderr.flush()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not for JSON: {type(value).__name__}")
