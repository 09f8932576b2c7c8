"""Runs a child to its end, and holds so much of what it prints and no more.

A model may have taken the child over: whoever listened to all that it prints would end for memory.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

ANSWER_MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of a child's output; one that prints more is ended. What a model declares has some
kilobytes."""
ERRORS_KEPT_BYTES: Final = 16 * 1024
"""The end of what a child says on its other output: a crash says its last words there."""
_READ_BYTES: Final = 64 * 1024
"""The bytes that are read at once from a child."""


def run_bounded(
    command: Sequence[str], *, timeout: float, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run a child to its end.

    Args:
        command: what is run.
        timeout: seconds after which the child is killed.
        env: all of its environment.

    Returns:
        Its exit code with what it printed; of one that printed too much, the beginning, and that
        it was killed.

    Raises:
        subprocess.TimeoutExpired: it was killed for its time.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as child:
        assert child.stdout is not None  # noqa: S101 (given PIPE above)
        assert child.stderr is not None  # noqa: S101
        try:
            end_s = time.monotonic() + timeout
            answer, errors = _listen(child.stdout, child.stderr, end_s)
            if len(answer) > ANSWER_MAX_BYTES:
                child.kill()
            code = child.wait(max(0.0, end_s - time.monotonic()))
        except subprocess.TimeoutExpired as exc:
            raise subprocess.TimeoutExpired(command, timeout) from exc
        finally:
            child.kill()
    return subprocess.CompletedProcess(list(command), code, answer, errors)


def _listen(output: IO[bytes], errors: IO[bytes], end_s: float) -> tuple[bytes, bytes]:
    """Read until both are closed, or the answer is too long.

    Raises:
        subprocess.TimeoutExpired: neither came in time.
    """
    answer, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(errors, selectors.EVENT_READ)
        while selector.get_map() and len(answer) <= ANSWER_MAX_BYTES:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired("", 0.0)
            for key, _ in selector.select(left_s):
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is output:
                    answer += data
                else:
                    said += data
                    del said[:-ERRORS_KEPT_BYTES]
    return bytes(answer), bytes(said)
