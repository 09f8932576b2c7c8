"""TOML with a key of a hundred thousand parts: 256 kB that cost its reader all memory there is.

A plan comes over the page's API. Each document is tried in a process that may take a gigabyte.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tomllib

import pytest

from slotcast_schemas.bounded_toml import KEY_PARTS_MAX, read_toml

MEMORY_MAX_BYTES = 1024**3
READ = """
import sys
from slotcast_publisher.fleet.rollout.plan import read_plan
from slotcast_schemas.errors import UsageError
try:
    read_plan(sys.stdin.read(), "plan")
except UsageError as exc:
    print(exc)
"""
MANY = 100_000
FEW = 2 * KEY_PARTS_MAX
LONG = {
    "a key": "a" + ".a" * MANY + " = 1",
    "a table": "[a" + ".a" * MANY + "]",
}
HIDDEN = {
    "blanks": "a" + " . a" * FEW + " = 1",
    "quotes": '"a,"' + '."a,"' * FEW + " = 1",
    "in a table's name": "[a" + ".'b]'" * FEW + "]",
    "behind a text of lines": 'x = {k = """\n""", a' + ".a" * FEW + ' = "1"}',
    "behind a comment": "# ' \"\n" + "a" + ".a" * FEW + " = 1",
}


@pytest.mark.parametrize("name", list(LONG))
def test_a_key_without_end_costs_no_memory(name: str) -> None:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))

    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=LONG[name],
        preexec_fn=bound,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "at most 64 parts" in done.stdout


@pytest.mark.parametrize("name", list(HIDDEN))
def test_such_a_key_is_found_however_it_is_written(name: str) -> None:
    assert tomllib.loads(HIDDEN[name])
    with pytest.raises(tomllib.TOMLDecodeError, match="at most 64 parts"):
        read_toml(HIDDEN[name])


def test_dots_of_texts_comments_and_numbers_are_no_keys() -> None:
    dots = ".d" * FEW
    numbers = ", ".join("1.5" for _ in range(FEW))
    text = (
        f'# a{dots}\nx = "a{dots}"\ny = \'a{dots}\'\nz = """\na{dots}\n"""\n'
        f'l = [{numbers}]\n[t.u."v.w"]\nk = 1\n'
    )
    assert read_toml(text) == tomllib.loads(text)
