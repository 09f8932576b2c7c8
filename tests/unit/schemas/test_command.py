"""How a command begins and ends, tried with real processes, real pipes and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotcast_schemas.command import OUTPUT_LOST, STOPPED
from tests.support.waiting import WAIT_S

RUN = "from slotcast_schemas.command import run_command; run_command('tool', lambda: main)"
LINES = "import sys\ndef main():\n    sys.stdout.write('line\\n' * {lines}); return {code}\n"


def start(
    program: str, *, stdout: int = subprocess.PIPE, shell: str = "", **more: object
) -> subprocess.Popen[str]:
    """Start a program that ends in `run_command`; `shell` has redirections, such as `>&-`."""
    # -X dev: what destructors fail at is printed, as Python 3.13 does in any case.
    words = [sys.executable, "-X", "dev", "-c", f"{program}\n{RUN}"]
    if shell:
        words = ["sh", "-c", f'exec "$0" "$@" {shell}', *words]
    return subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE, text=True)


@contextmanager
def nobody_reads() -> Iterator[int]:
    """Give the writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("code", [0, 3])
def test_output_that_nobody_reads_is_dropped_in_silence(lines: int, code: int) -> None:
    with nobody_reads() as pipe:
        process = start(LINES.format(lines=lines, code=code), stdout=pipe)
        _, said = process.communicate()
    assert (process.returncode, said) == (code, "")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_cannot_be_written_is_an_error_of_this_machine(lines: int) -> None:
    process = start(LINES.format(lines=lines, code=0), shell=">/dev/full")
    _, said = process.communicate()
    assert process.returncode == OUTPUT_LOST
    assert said == "tool: the output could not be written: No space left on device\n"


def test_output_that_cannot_be_written_ends_nothing_and_hides_no_failure() -> None:
    program = (
        "import sys\n"
        "def main():\n"
        "    for _ in range(100_000): sys.stdout.write('line\\n')\n"
        "    sys.stderr.write('all done\\n'); return 3\n"
    )
    process = start(program, shell=">/dev/full")
    _, said = process.communicate()
    assert said.startswith("all done\n")
    assert process.returncode == 3


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_stream_is_one_that_nobody_wants(lines: int) -> None:
    process = start(LINES.format(lines=lines, code=3), shell=">&- <&-")
    _, said = process.communicate()
    assert (process.returncode, said) == (3, "")


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("state")
    program = (
        "import os, sys\n"
        "def main():\n"
        f"    os.open({str(kept)!r}, os.O_RDWR); os.write(1, b'progress'); os.write(2, b'log')\n"
        "    return 0\n"
    )
    start(program, shell=">&- 2>&- <&-").communicate()
    assert kept.read_text() == "state"


def test_progress_that_cannot_be_written_ends_nothing() -> None:
    program = (
        "import sys\n"
        "def main():\n"
        "    for _ in range(10_000): sys.stderr.write('progress\\n'); sys.stderr.flush()\n"
        "    sys.stdout.write('done\\n'); return 0\n"
    )
    process = start(program, shell="2>/dev/full")
    assert process.communicate()[0] == "done\n"
    assert process.returncode == 0


def test_a_file_name_that_is_no_text_is_still_printed() -> None:
    program = "import sys\ndef main():\n    sys.stdout.write('\\udcff.txt\\n'); return 0\n"
    assert start(program).communicate() == ("\\udcff.txt\n", "")


def test_no_stream_shows_a_password() -> None:
    program = (
        "import sys\n"
        "def main():\n"
        "    sys.stdout.write('a mqtt://cam:Blue@h\\n')\n"
        "    raise ValueError('b mqtt://cam:Blue@h')\n"
    )
    said = "".join(start(program).communicate())
    assert "Blue" not in said
    assert "a mqtt://***@h\n" in said
    assert "ValueError: b mqtt://***@h\n" in said  # from 3.13 on the line of the program as well


WAITS = "import sys, time\nsys.stdout.write('here\\n'); sys.stdout.flush()\ntime.sleep(600)\n"
IN_MAIN = "def main():\n" + "".join(f"    {line}\n" for line in WAITS.splitlines())
IN_LOAD = (
    "def load():\n"
    + "".join(f"    {line}\n" for line in WAITS.splitlines())
    + "from slotcast_schemas.command import run_command\nrun_command('tool', load)\n"
)
AT_EXIT = (
    "import atexit\ndef wait():\n"
    + "".join(f"    {line}\n" for line in WAITS.splitlines())
    + "atexit.register(wait)\ndef main(): return 3\n"
)
CLEANS_UP_BADLY = (
    "def main():\n    try:\n"
    + "".join(f"        {line}\n" for line in WAITS.splitlines())
    + "    finally:\n        raise ValueError('the cleaning up failed')\n"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (IN_LOAD, STOPPED, "tool: stopped\n"),
        (IN_MAIN, STOPPED, "tool: stopped; run the same command again to go on\n"),
        (CLEANS_UP_BADLY, STOPPED, "tool: stopped; run the same command again to go on\n"),
        (AT_EXIT, 3, ""),
    ],
    ids=["while it imports", "while it works", "cleaning up fails", "at its end"],
)
def test_a_signal_ends_a_command_with_one_line(
    number: signal.Signals, program: str, code: int, said: str
) -> None:
    process = start(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (code, said)


@pytest.mark.parametrize("module", ["slotcast_publisher", "slotcast_device"])
def test_nothing_heavy_is_imported_before_signals_are_looked_after(module: str) -> None:
    """What is imported before is a time in which Ctrl-C prints a traceback."""
    program = (
        f"import sys; import {module}.__main__\n"
        "from slotcast_schemas import command\n"
        "command.run_command = lambda name, load: print(sorted(sys.modules))\n"
        f"{module}.__main__.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert not [
        heavy
        for heavy in ("msgspec", "typer", "tuf", "numpy", "onnx", "paho", "logging")
        if f"'{heavy}'" in done.stdout.decode()
    ]
