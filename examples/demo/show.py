"""Tells the story: acts, what is said, what was observed, and bars for what takes time.

On a terminal with colours and live bars; elsewhere as plain lines. An observation that fails
ends the story: `check` raises, and the program's exit code says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from examples.demo.picture import Picture

_PLAIN_STEPS: Final = 4
"""Lines that a bar becomes where there is no terminal."""
_SHORT_CHARS: Final = 120


class NotObserved(Exception):
    """Something that the story promises did not happen."""


class Bar:
    """Progress of one transfer, in bytes."""

    def __init__(
        self,
        show: Show,
        progress: Progress | None,
        task: TaskID | None,
        title: str,
        steps: int = _PLAIN_STEPS,
    ) -> None:
        self._show = show
        self._progress = progress
        self._task = task
        self._title = title
        self._steps = steps
        self._told = 0

    def at(self, done: float, total: float) -> None:
        """Say how far it is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
            return
        step = int(self._steps * done / total) if total else self._steps
        if step > self._told:
            self._told = step
            self._show.say_progress(f"{self._title}: {kilobytes(done)} of {kilobytes(total)}")


class Show:
    """The terminal, and the count of what was observed.

    Args:
        console: where it is shown; standard output unless given.
        picture: what draws chosen acts of it, too.

    Attributes:
        observed: how many checks held so far.
    """

    def __init__(self, console: Console | None = None, picture: Picture | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.observed = 0
        self._picture = picture
        self._started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._started_s

    def act(self, number: int, title: str) -> None:
        """Begin an act."""
        if self._picture is not None:
            self._picture.turn_to(number)
        self._print()
        self._print(f"[bold cyan]{number}. {escape(title)}[/]  [dim]{self.elapsed_s:.0f} s[/]")

    def say(self, text: str) -> None:
        """Tell what is being done."""
        self._print(f"   {escape(text)}")

    def say_progress(self, text: str) -> None:
        """Tell how far something is, where no bar can be drawn; no picture has it."""
        self.console.print(f"   {escape(text)}", soft_wrap=True)

    def command(self, text: str) -> None:
        """Show the command that does what is being done here."""
        self._print(f"   [dim]$ {escape(text)}[/]")

    def check(self, holds: bool, text: str) -> None:
        """Tell what was observed.

        Raises:
            NotObserved: it was not.
        """
        if not holds:
            self._print(f"   [bold red]✗ {escape(text)}[/]")
            raise NotObserved(text)
        self.observed += 1
        self._print(f"   [green]✓[/] {escape(text)}")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show figures."""
        table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self._print(Padding(table, (0, 0, 0, 3)))

    def failed(self, text: str) -> None:
        """End the story badly."""
        self._print(f"\n[bold red]FAILED[/] {escape(text)}")

    def ending(self) -> None:
        """End the story well."""
        if self._picture is not None:
            self._picture.turn_to_end()
        self._print(
            f"\n[bold green]Done.[/] {self.observed} observations in {self.elapsed_s:.0f} s,"
            " every one of them checked."
        )

    def _print(self, what: Any = "") -> None:
        is_text = isinstance(what, str)
        self.console.print(what, soft_wrap=is_text)
        if self._picture is not None:
            self._picture.print(what)

    @contextmanager
    def bar(self, title: str, *, quietly: bool = False) -> Iterator[Bar]:
        """Show a bar, or where there is no terminal a few lines, or then none if `quietly`."""
        if not self.console.is_terminal:
            yield Bar(self, None, None, title, steps=0 if quietly else _PLAIN_STEPS)
            return
        columns = (
            TextColumn("  "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield Bar(self, progress, progress.add_task(title, total=None), title)


def short(text: str) -> str:
    """Cut a sentence of the device to what fits a line or two."""
    return text if len(text) <= _SHORT_CHARS else text[: _SHORT_CHARS - 1] + "…"


def kilobytes(count: float) -> str:
    """Write a number of bytes for people."""
    return f"{count / 1000:,.0f} kB"
