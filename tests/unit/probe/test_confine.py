"""What a model's driver may still do, asked of this kernel; what it may not: tests/security."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slotcast_schemas.confinement import sandbox
from slotcast_schemas.probe.owner_command import program_files

PROGRAM = """
import os, socket, sys
from slotcast_schemas.confinement import sandbox
from slotcast_schemas.probe import confine

confine.die_with(os.getppid())
print(sandbox.close_network(sandbox.Kind[sys.argv[1]]))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
        print("made")
    except OSError as exc:
        print(exc.strerror)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux's")
@pytest.mark.parametrize(
    ("kind", "local"), [("DEVICE", "made"), ("COMMAND", "made"), ("RUNTIME", "Permission denied")]
)
def test_a_model_makes_no_socket_to_a_network_and_drivers_make_theirs(
    kind: str, local: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "Permission denied", "Permission denied", local]


def test_all_is_opened_but_what_is_closed(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/closed/deep", "d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b/link").symlink_to(tmp_path / "b/closed")
    closed = frozenset({tmp_path / "b/closed"})
    assert sorted(sandbox.open_around(tmp_path, closed)) == [
        tmp_path / name for name in ("a", "b/c", "d")
    ]
    assert sandbox.open_around(tmp_path / "b/link", closed) == []
    assert sandbox.open_around(tmp_path / "b/closed/deep", closed) == []
    assert sandbox.open_around(tmp_path / "d", closed) == [tmp_path / "d"]


def test_files_that_a_command_names_are_read_wherever_they_lie(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text("")
    found = program_files((sys.executable, str(script), "--threads", "2", str(tmp_path / "none")))
    assert found == (Path(sys.executable), script)
    assert program_files(()) == ()
