"""Runs unit tests with every Python that is promised, and with the oldest and newest packages.

    make versions                           each Python but that of .venv, which `make test` tests
    make versions ARGS="3.13"               this one alone
    make versions ARGS="--packages oldest"  the Python of .venv, with the oldest packages claimed
    make versions ARGS="--packages newest"  the same, with the newest that the index has today

A Python is taken from this machine (PATH, pyenv's or uv's folder), else from the Debian whose
python3 it is (`tools/debian-root`). One that cannot be had is named, and fails nothing; tests that
fail always do, and so do tests that do not end. Environments stay in build/versions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
VENV: Final = ROOT / ".venv"
BUILD: Final = ROOT / "build" / "versions"
OWN: Final = "{}.{}".format(*sys.version_info[:2])
DEBIAN: Final = {"3.11": "bookworm", "3.13": "trixie"}
"""The stable Debian whose python3 it is; no Debian has 3.12."""
TESTS: Final = ("tests/unit",)
TESTS_OF_PACKAGES: Final = tuple(
    f"tests/unit/{part}" for part in ("codecs", "delta", "device", "publisher", "schemas")
)
"""Without the tests of the workspace, whose tools are always the locked ones."""
PYTEST: Final = ("-m", "pytest", "-q", "-n", "3", "--dist", "loadfile")
"""As in tools/test: some tests wait, and a file's tests share what is dear to make."""
DISTRIBUTIONS: Final = ("schemas", "device", "publisher")
TOLD: Final = ("numpy", "onnx", "onnxruntime", "msgspec", "tuf", "paho-mqtt", "typer")
"""The packages whose versions the summary names."""
GET_TIMEOUT_S: Final = 400.0
TESTS_TIMEOUT_S: Final = 900.0
STOP_TIMEOUT_S: Final = 20.0
TIMED_OUT: Final = 124
UNAVAILABLE: Final = frozenset({69, 77, TIMED_OUT})
"""Exit codes of tools/dev and tools/debian-root where a Python cannot be had: no such package, no
right to install it, no answer in time. Any other than 0 is a failure."""
_LINE_MAX_CHARS: Final = 300
"""The most that is told of a command line."""
_ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
"""What one process compiled is there for the next of several hundred, whatever the caller says."""
_CLASSIFIER: Final = re.compile(r"Programming Language :: Python :: (3\.\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one version: its tests passed, failed, or could not be run."""

    what: str
    ran_on: str
    passed: bool | None
    took_s: float = 0.0

    def line(self) -> str:
        """Give one line of the summary."""
        word = {True: "passed", False: "FAILED", None: "not run"}[self.passed]
        took = f"  {self.took_s:.0f} s" if self.took_s else ""
        return f"{self.what:16} {word:8} {self.ran_on}{took}"


class CannotHave(Exception):
    """A Python that cannot be had here; the message says why."""


class Broken(Exception):
    """What is locked or claimed cannot be installed with this Python; the message says why."""


def promised() -> list[str]:
    """Give the versions of Python that the device's classifiers name, oldest first."""
    project = tomllib.loads((ROOT / "device" / "pyproject.toml").read_text())["project"]
    found = [_CLASSIFIER.fullmatch(line) for line in project["classifiers"]]
    return sorted((match[1] for match in found if match), key=lambda text: int(text[2:]))


def candidates(version: str) -> Iterator[str]:
    """Give where a Python of this version may lie on this machine."""
    on_path = shutil.which(f"python{version}")
    yield from [on_path] if on_path else []
    yield f"/usr/bin/python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    data = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    for folder, name in (
        (pyenv / "versions", f"{version}.*"),
        (data / "uv" / "python", f"cpython-{version}.*"),
    ):
        yield from (str(found / "bin" / f"python{version}") for found in sorted(folder.glob(name)))


def is_version(python: str, version: str) -> bool:
    """Whether `python` runs here and is of this version (a shim of pyenv may not run)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def environment(name: str, python: str) -> Path:
    """Make or renew the environment `name` with the locked packages; gives its python.

    Raises:
        CannotHave: this Python lacks what an environment needs, and that cannot be installed.
        Broken: the locked packages do not install.
    """
    folder = BUILD / name
    get(["tools/dev"], SLOTCAST_VENV=str(folder), PYTHON=python)
    return folder / "bin" / "python"


def get(command: list[str], **settings: str) -> None:
    """Run what fetches or installs something; its output is shown only if that fails.

    Raises:
        CannotHave: it says that something cannot be had here, or takes too long.
        Broken: it fails otherwise.
    """
    with tempfile.TemporaryFile("w+") as output:
        code = run(command, GET_TIMEOUT_S, output=output, **settings)
        output.seek(0)
        said = output.read().strip()
    if code in UNAVAILABLE:
        last = said.splitlines()[-1] if said else "it said nothing"
        raise CannotHave(f"not within {GET_TIMEOUT_S:.0f} s" if code == TIMED_OUT else last)
    if code != 0:
        raise Broken(f"{' '.join(command)} ended with {code}:\n{said[-3000:]}")


def run(
    command: list[str], timeout_s: float, *, output: IO[str] | None = None, **settings: str
) -> int:
    """Run a command in the repository; gives its exit code, `TIMED_OUT` if it was stopped.

    Args:
        command: the program and its arguments.
        timeout_s: after which it and all that it started are stopped.
        output: for what it prints; None shows it.
        settings: environment variables beside those that are set.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**_ENVIRONMENT, **settings},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        (output or sys.stdout).write("".join(f"runs: {line}\n" for line in running(process.pid)))
        return TIMED_OUT
    finally:
        if process.poll() is None:
            stop(process)


def running(session: int) -> list[str]:
    """Give the command lines of a session's processes; a worker of pytest-xdist names its test."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session:
                lines.append(" ".join(process.cmdline()).strip()[:_LINE_MAX_CHARS])
    return lines


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, which may clean up first."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_tests(command: list[str]) -> bool:
    """Run tests in the foreground; False if any failed or they took too long.

    Raises:
        CannotHave: the command says that its Python cannot be had.
    """
    code = run(command, TESTS_TIMEOUT_S)
    if code == TIMED_OUT:
        sys.stdout.write(f"not done within {TESTS_TIMEOUT_S:.0f} s\n")
    elif code in UNAVAILABLE:
        raise CannotHave("see above")
    return code == 0


def check_python(version: str) -> Outcome:
    """Run the unit tests with one version of Python, wherever it can be had.

    Raises:
        CannotHave: it is neither here nor in a Debian that can be had.
        Broken: the locked packages do not install.
    """
    what = f"Python {version}"
    found = next((python for python in candidates(version) if is_version(python, version)), None)
    if found is not None:
        command = [str(environment(version, found)), *PYTEST, *TESTS]
        return timed(what, found, lambda: run_tests(command))
    if version not in DEBIAN:
        raise CannotHave(f"no python{version} on this machine, and no stable Debian has it")
    suite = DEBIAN[version]
    get(["tools/debian-root", suite, "true"])
    tests = " ".join([".venv/bin/python", *PYTEST, *TESTS])
    command = ["tools/debian-root", suite, "sh", "-c", f"tools/dev && {tests}"]
    return timed(what, f"python3 of Debian {suite}", lambda: run_tests(command))


def claimed(distribution: str) -> list[str]:
    """Give what a distribution needs, with the fleet, but for our own distributions."""
    project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project.get("optional-dependencies", {}).get("fleet", ())]
    return [line for line in needed if not line.startswith("slotcast-")]


def check_packages(which: str) -> Outcome:
    """Run the unit tests with the oldest packages that we claim, or the newest there are.

    Tools keep their locked versions; what the three distributions need is put over them.

    Raises:
        Broken: what is claimed cannot be installed.
    """
    python = environment(which, sys.executable)
    pins = BUILD / f"{which}.txt"
    needed = BUILD / "needed.in"
    needed.write_text("".join(f"{line}\n" for name in DISTRIBUTIONS for line in claimed(name)))
    shared = ["--no-config", "--quiet", "--only-binary", ":all:"]
    resolution = {"oldest": ["--resolution", "lowest-direct"], "newest": ["--upgrade"]}[which]
    uv = [str(VENV / "bin" / "uv"), "pip"]
    plain = ["--no-header", "--no-annotate", f"--python-version={OWN}", f"--output-file={pins}"]
    get([*uv, "compile", *shared, *plain, *resolution, str(needed)])
    get([*uv, "install", *shared, "--no-deps", f"--python={python}", "-r", str(pins)])
    (BUILD / which / "made-from").unlink()  # so that the next tools/dev puts the locked ones back
    told = re.findall(rf"^(?:{'|'.join(TOLD)})==\S+", pins.read_text(), re.MULTILINE)
    command = [str(python), *PYTEST, *TESTS_OF_PACKAGES]
    return timed(f"{which} packages", ", ".join(told), lambda: run_tests(command))


def timed(what: str, ran_on: str, do: Callable[[], bool]) -> Outcome:
    """Run tests, say before with what, and give the outcome."""
    sys.stdout.write(f"== {what}: {ran_on}\n")
    sys.stdout.flush()
    began_s = time.monotonic()
    passed = do()
    return Outcome(what, ran_on, passed, time.monotonic() - began_s)


def outcome_of(what: str, check: Callable[[str], Outcome], name: str) -> Outcome:
    """Give what came of one version, also where it cannot be had or installed."""
    try:
        return check(name)
    except CannotHave as exc:
        return Outcome(what, str(exc), None)
    except Broken as exc:
        sys.stdout.write(f"{exc}\n")
        return Outcome(what, "does not install, see above", passed=False)


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; 1 if any tests failed."""
    parser = argparse.ArgumentParser(
        prog="make versions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("version", nargs="*", help="these versions of Python alone")
    parser.add_argument("--packages", choices=["oldest", "newest"], action="append", default=[])
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    others = [version for version in promised() if version != OWN]
    wanted = options.version or ([] if options.packages else others)
    outcomes = [outcome_of(f"Python {version}", check_python, version) for version in wanted]
    outcomes += [
        outcome_of(f"{which} packages", check_packages, which) for which in options.packages
    ]
    print("\n".join(outcome.line() for outcome in outcomes))
    if wanted == others:
        print(f"Python {OWN:9} is that of .venv: `make test` runs its tests")
    return int(any(outcome.passed is False for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
