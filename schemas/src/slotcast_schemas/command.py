"""How a command begins and ends where that is not its own doing: signals, pipes, full disks.

`run_command` is what both console scripts call, before anything that takes long is imported:

- Ctrl-C and SIGTERM end a command at any moment, also while it still imports, with one line and
  130. A command that has its own way to stop (the agent) sets its own handlers.
- Output that nobody reads any more (`| head -1`) is dropped in silence; after output that could not
  be written (a full disk) a command that went well ends with one line and 4. No write ever ends
  what a command does, be it output, progress or log.
- Standard streams that are closed are opened on `/dev/null`, or the next file that is opened, such
  as a lock, would take their number and get what was meant for them.
- Every line loses the passwords and tokens in it, whoever wrote it.
- An argument with a password is warned of: every user of the machine can read it.
- Whatever umask a command was started with, other users may write into nothing that it makes.
- Python seldom looks for garbage: what a command imports is none, and would be looked through.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from slotcast_schemas.garbage import end_process, look_for_garbage_seldom
from slotcast_schemas.redact import has_password, hide_passwords

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STOPPED: Final = 130
"""The exit code of a command that Ctrl-C ended, as shells have it: 128 and SIGINT's number."""
OUTPUT_LOST: Final = 4
"""The exit code where output could not be written: that of both commands for storage."""
_OPEN_TO_ALL: Final = (
    "an argument holds a password: while this runs every user of this machine can read it, and the"
    " shell may keep it; write the address into the configuration file or an environment variable"
)
_OTHERS_WRITE: Final = 0o002
"""The right that no file of ours gives: that users outside its group may write it."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals that stop a command as somebody asked."""


def run_command(name: str, load: Callable[[], Callable[[], int]]) -> NoReturn:
    """Import a command, run it, and end the process with its exit code.

    Args:
        name: what its lines begin with.
        load: imports the command and gives its `main`, which gives the exit code.
    """
    look_for_garbage_seldom()
    _open_streams()
    os.umask(os.umask(_OTHERS_WRITE) | _OTHERS_WRITE)
    _set_handlers(_Leave(STOPPED, f"{name}: stopped\n"))
    if any(map(has_password, sys.argv[1:])):
        sys.stderr.write(f"{name}: warning: {_OPEN_TO_ALL}\n")
    main = load()
    stop = _Stop()
    _set_handlers(stop)
    code = _run(name, main, stop)
    # The interpreter's own end takes a while as well; nothing is left that a signal could spoil.
    _set_handlers(_Leave(code))
    end_process(code)


def _run(name: str, main: Callable[[], int], stop: _Stop) -> int:
    code = 0
    try:
        code = main()
    except SystemExit as exc:  # how argparse and typer end
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:  # cleaning up after an interrupt may fail in ways of its own
        if not stop.was_asked:
            raise
    if stop.was_asked:
        sys.stderr.write(f"{name}: stopped; run the same command again to go on\n")
        code = STOPPED
    lost = _end_output(name)
    return code or lost


def _end_output(name: str) -> int:
    """Write out what is in the buffer; give the exit code, with a line if anybody must act."""
    sys.stdout.flush()
    lost = sys.stdout.lost if isinstance(sys.stdout, _Stream) else None
    if lost is None:
        return 0
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is what is wanted
        os.dup2(nowhere.fileno(), 1)  # so that the interpreter's own flush says nothing
    if isinstance(lost, BrokenPipeError):
        return 0
    sys.stderr.write(f"{name}: the output could not be written: {lost.strerror}\n")
    return OUTPUT_LOST


# --- signals --------------------------------------------------------------------------------------


class _Leave:
    """Ends the process at once: for when there is nothing to clean up."""

    def __init__(self, code: int, last_words: str = "") -> None:
        self._code = code
        self._last_words = last_words.encode()

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        try:
            os.write(2, self._last_words)
        finally:
            os._exit(self._code)


class _Stop:
    """Raises `KeyboardInterrupt`, so that what was begun is cleaned up.

    From then on nothing is printed of what fails in other threads and in destructors: it fails
    because the command was stopped.
    """

    def __init__(self) -> None:
        self.was_asked = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        self.was_asked = True
        sys.unraisablehook = lambda _: None
        threading.excepthook = lambda _: None
        raise KeyboardInterrupt


def _set_handlers(handler: _Leave | _Stop) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


# --- standard streams -----------------------------------------------------------------------------


class _Stream(io.TextIOWrapper):
    """Standard output or standard error, as a command needs it.

    Attributes:
        lost: the first error of writing to it.
    """

    def __init__(self, number: int, before: TextIO | None, *, is_log: bool) -> None:
        super().__init__(
            io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors="backslashreplace",  # a file's name may be no text at all
            line_buffering=is_log or os.isatty(number),
        )
        self.lost: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write a text without its passwords."""
        try:
            return super().write(hide_passwords(text))
        except OSError as exc:
            self.lost = self.lost or exc
            return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            super().flush()
        except OSError as exc:
            self.lost = self.lost or exc


def _open_streams() -> None:
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor, for ever
    sys.stdout = _Stream(1, sys.stdout, is_log=False)
    sys.stderr = _Stream(2, sys.stderr, is_log=True)
