"""A model that a command of the device's owner runs: GGUF, or any format that Slotcast knows not.

The command is started by the probe's child, so it has the child's limits, priority and end. It
reads one JSON object a line from its standard input and answers each with one on its standard
output (docs/formats.md):

    -> {"do": "load", "format": "gguf", "model": "/…/a/model.gguf", "slot": "/…/a",
        "samples": "/…/a/samples.npz", "threads": 0}
    <- {"inputs": [...], "outputs": [...]}      both optional, as a release writes them
    -> {"do": "run", "sample": 0}
    <- {"outputs": {"scores": [[0.1, 0.9]]}}    or {"error": "what is wrong"} to either

At the end of its input it ends. What it prints elsewhere is kept for people. What it answers is
bounded and validated: the model that it runs is nobody's yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.environment import ONE_THREAD
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.probe.runtime import Feed, Outputs
from slotcast_schemas.probe.spec import SlotModel
from slotcast_schemas.probe.waits import descendants
from slotcast_schemas.samples import SAMPLES_MAX_BYTES
from slotcast_schemas.value_types import Array

ANSWER_MAX_BYTES: Final = 4 * SAMPLES_MAX_BYTES
"""The most bytes of one answer: numbers written out take several times their size."""

_END_S: Final = 2.0
"""How long a command may take to end when its input has; then it is killed."""

SAMPLE: Final = "sample"
"""The one input of a model that a command runs: the number of a sample, which it reads itself."""


class CommandFailed(Exception):
    """The command said that something is wrong, or what no command may say, or ended."""


class CannotStart(CommandFailed):
    """What runs the format is not on this device: no fault of the model."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the command's; which fields count depends on what it was told."""

    error: str = ""
    inputs: Annotated[tuple[Tensor, ...], Meta(max_length=limits.TENSORS_MAX)] = ()
    outputs: Any = None


make_decoders(_Answer, tuple[Tensor, ...])


class CommandModel:
    """One model, loaded by the owner's command.

    Args:
        which: the model.
        samples: the release's samples file, in the same slot; None for none.
        threads: that it may use; 0 is as many as it takes by itself.

    Raises:
        CannotStart: the command cannot be started.
        CommandFailed: it does not load the model.
    """

    def __init__(self, which: SlotModel, samples: Path | None, threads: int) -> None:
        try:
            self._process = subprocess.Popen(
                which.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
                env={name: text for name, text in os.environ.items() if name != ONE_THREAD},
            )
        except OSError as exc:
            raise CannotStart(
                f"the owner's command {which.command[0]!r} cannot be started: {exc.strerror}"
            ) from exc
        asked = {
            "do": "load",
            "format": which.format,
            "model": str(which.path),
            "slot": which.slot,
            "samples": None if samples is None else str(samples),
            "threads": threads,
        }
        try:
            answer = self._ask(asked)
            self.inputs = answer.inputs
            self.outputs = _signature(answer.outputs)
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that work for the model beside this one."""
        return descendants(self._process.pid)

    def cannot_be_fed(self) -> str:
        """Say nothing: what a command feeds its model with is its own affair."""
        return ""

    def run(self, feed: Feed) -> Outputs:
        """Run it once on a sample of the release, or where there is none on what it likes.

        Args:
            feed: the sample's number as `SAMPLE`, or nothing.

        Raises:
            CommandFailed: it does not run.
        """
        if feed.keys() - {SAMPLE}:
            raise CommandFailed(f"expected the number of a sample, got {sorted(feed)!r:.200}")
        number = feed.get(SAMPLE)
        asked = None if number is None else int(np.asarray(number))
        answer = self._ask({"do": "run", "sample": asked})
        named = {} if answer.outputs is None else answer.outputs
        if not isinstance(named, Mapping) or len(named) > limits.TENSORS_MAX:
            raise CommandFailed("expected outputs by name, got something else")
        return {str(name): _array(str(name), value) for name, value in named.items()}

    def close(self) -> None:
        """Let the command end, and end it if it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, what: Mapping[str, object]) -> _Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 (given PIPE above)
        assert stdout is not None  # noqa: S101
        try:
            stdin.write(msgspec.json.encode(what) + b"\n")
            stdin.flush()
            line = stdout.readline(ANSWER_MAX_BYTES + 1)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise CommandFailed(self._how_it_ended(line))
        answer = _read(line)
        if answer.error:
            raise CommandFailed(answer.error[: limits.DETAIL_MAX_CHARS])
        return answer

    def _how_it_ended(self, line: bytes) -> str:
        if len(line) > ANSWER_MAX_BYTES:
            return f"the owner's command answers more than {ANSWER_MAX_BYTES} bytes"
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "the owner's command has closed its output, and goes on"
        if code < 0:
            return f"the owner's command was ended by {signal.Signals(-code).name}"
        return f"the owner's command ended with {code} instead of answering"


def program_files(command: Sequence[str]) -> tuple[Path, ...]:
    """Give the files that a command names, its program first: they may lie beside secrets."""
    program = shutil.which(command[0]) if command else None
    named = [*([program] if program else []), *(each for each in command[1:] if "/" in each)]
    return tuple(path for path in map(Path, named) if path.is_absolute() and path.is_file())


def _read(line: bytes) -> _Answer:
    """One answer; by the standard library's JSON, since NaN and Infinity are what models say."""
    try:
        said = json.loads(line)
        if b"\\ud" in line.lower():
            # Half a surrogate pair is no text that could be told on.
            whole = json.dumps(said, ensure_ascii=False).encode(errors="replace")
            said = json.loads(whole)
        return msgspec.convert(said, _Answer)
    except (ValueError, RecursionError) as exc:
        start = line[:80].decode(errors="replace")
        raise CommandFailed(f"expected JSON of docs/formats.md, got {start!r} ({exc})") from exc


def _signature(said: object) -> tuple[Tensor, ...]:
    try:
        return msgspec.convert(said or (), tuple[Tensor, ...])
    except msgspec.ValidationError as exc:
        raise CommandFailed(f"outputs: expected tensors as a release has them: {exc}") from exc


def _array(name: str, value: object) -> Array:
    """Nested lists of numbers or texts, with null for NaN."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as exc:
        raise CommandFailed(
            f"output {name!r:.80}: expected nested lists of numbers: {exc}"
        ) from exc
    if array.dtype.kind not in "biufU":
        raise CommandFailed(f"output {name!r:.80}: expected numbers or texts, got {array.dtype}")
    return array
