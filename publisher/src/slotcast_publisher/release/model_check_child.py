"""Looks at a model in a process of its own, so that a model that crashes it harms nobody.

Run as `python -m slotcast_publisher.release.model_check_child REQUEST`, where REQUEST is a JSON
object with `model`, `parent_pid` and `samples` (null, or `user`, `out` and `seed`);
writes one JSON object to standard output: what the model declares and how a device shall probe it,
or `error`. It closes itself in before it imports a runtime: only the samples file, which is opened
before that, can be written.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

import msgspec

from slotcast_publisher.release.model_check import SamplesWanted
from slotcast_schemas import process_memory
from slotcast_schemas.confinement import sandbox
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.garbage import end_process, look_for_garbage_seldom
from slotcast_schemas.probe import SlotModel, confine
from slotcast_schemas.probe.runtime_words import cause_of

MEMORY_SHARE: Final = 0.8
"""Of the memory that is free, what looking at a model may take."""


def main(arguments: list[str]) -> int:
    """Look at one model; 0 if it is sound, 1 if not."""
    request = json.loads(arguments[0])
    confine.die_with(int(request["parent_pid"]))
    look_for_garbage_seldom()
    model = msgspec.convert(request["model"], SlotModel)
    wanted = msgspec.convert(request["samples"], SamplesWanted | None)
    try:
        with ExitStack() as files:
            out = None if wanted is None else files.enter_context(_open_out(model, wanted))
            _close_in(model, wanted, int(request["parent_pid"]))
            from slotcast_publisher.release.model_examination import examine

            confine.limit_memory(int(process_memory.available_bytes() * MEMORY_SHARE))
            report = examine(model, wanted, out)
    except SlotcastError as exc:
        report = {"error": str(exc)[:2000], "reason": exc.reason}
    except Exception as exc:  # noqa: BLE001 - whatever a model can provoke is its error
        report = {"error": cause_of(exc, model.slot)[:2000]}
    sys.stdout.write(json.dumps(report))
    return 1 if "error" in report else 0


def _open_out(model: SlotModel, wanted: SamplesWanted) -> IO[bytes]:
    path = Path(model.slot) / wanted.out
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")


def _close_in(model: SlotModel, wanted: SamplesWanted | None, parent_pid: int) -> None:
    confine.be_first_to_go()
    user = [] if wanted is None or wanted.user is None else [Path(wanted.user)]
    sandbox.close_network(sandbox.Kind.RUNTIME)
    sandbox.close_in(sandbox.Kind.RUNTIME, [Path(model.slot)], files=user)
    confine.die_with(parent_pid)


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
