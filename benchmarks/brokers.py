"""An update through each broker and limit of `broker_rows`: the table of docs/brokers.md.

A device process with the settings that `slotcast provision` writes fetches a release from nothing,
and then, started again, a second one: what it learnt at the first is known at the second. Where it
cannot finish, what counts is how long it takes until its status and its log say why.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.broker_rows import CLEAN, ROWS, Met, Row
from benchmarks.report import CannotRun, Figure, Options
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher import provision as provisioning
from slotcast_publisher.settings import Settings
from slotcast_schemas.errors import SlotcastError
from tests.support import models as zoo
from tests.support.engine import BrokerUnavailable
from tests.support.fleet import Device, Publisher
from tests.support.serving import serving

MODEL: Final = "clf"
TIMEOUT_S: Final = 180.0
WHY_S: Final = 60.0
"""What cannot finish says why within this."""
GIVE_UP_S: Final = 2 * WHY_S
_SIZE_BYTES: Final = 3_000_000
_LOOK_EVERY_S: Final = 0.5
_NOT_WRONG: Final = frozenset({"no_notice", "downloading", "building", "committed", "up_to_date"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one row.

    Attributes:
        seconds: until the first update was committed, or until the reason was said.
        again_s: the same of the second update; 0 where there was none.
        down_bytes: on the device's socket, in the first.
        said: the reason and the detail in the status.
        learnt: what the device keeps of this broker.
    """

    is_finished: bool
    seconds: float
    again_s: float = 0.0
    down_bytes: int = 0
    again_bytes: int = 0
    said: str = ""
    is_logged: bool = True
    learnt: str = ""


def run(options: Options) -> list[Figure]:
    """Run the rows, and say what came of each beside the clean one."""
    rows = [row for row in ROWS if row.is_quick or not options.quick]
    if options.only:
        rows = [row for row in rows if re.search(options.only, row.name) or row is CLEAN]
    publisher = _publisher(options)
    figures: list[Figure] = []
    lines: dict[str, str] = {}
    clean: Outcome | None = None
    for number, row in enumerate(rows):
        options.say(row.name)
        outcome = _outcome(options, publisher, row, number)
        if outcome is None:
            raise CannotRun(f"{row.name}: the broker is not here; see docs/brokers.md")
        clean = clean or outcome
        figures.append(_figure(row, outcome, clean))
        lines[row.name] = _line(row, outcome, clean)
        options.say(f"  {lines[row.name]}")
        if options.table is not None:
            _write_table(options.table, lines)
    return figures


def _publisher(options: Options) -> Publisher:
    publisher = Publisher.make(options.work / "repo", settings=Settings())
    for number in (1, 2):
        model = zoo.large(options.seed + number, size_bytes=_SIZE_BYTES)
        publisher.release(MODEL, str(number), {"model.onnx": model})
    return publisher


def _outcome(options: Options, publisher: Publisher, row: Row, number: int) -> Outcome | None:
    folder = options.work / f"row{number}"
    folder.mkdir()
    try:
        with row.meet(folder / "broker") as met:
            copy = publisher.copy(folder / "repo", met.publisher_url, prefix=f"row{number}")
            device = _device(copy, folder / "device", met)
            with contextlib.ExitStack() as stack:
                if row.serves:
                    stack.enter_context(serving(copy.path, met.publisher_url))
                return _run(copy, device, met, row)
    except BrokerUnavailable as exc:
        options.say(str(exc))
        return None
    except SlotcastError as exc:
        return Outcome(is_finished=False, seconds=0.0, said=f"the publisher says: {exc}")


def _device(publisher: Publisher, folder: Path, met: Met) -> Device:
    urls = (met.device_url,)
    provisioning.provision(publisher.repo, "bench", folder, models=(MODEL,), brokers=urls)
    return Device(folder / "device.toml")


def _run(publisher: Publisher, device: Device, met: Met, row: Row) -> Outcome:
    _publish(publisher, "1", row)
    if row.reason:
        return _run_in_vain(device, met, row)
    first_s, text = _update(device)
    down_bytes, learnt = met.proxy.down_bytes, _learnt(device)
    if text:
        return Outcome(is_finished=False, seconds=first_s, said=text, learnt=learnt)
    _publish(publisher, "2", row)
    again_s, text = _update(device)
    return Outcome(
        is_finished=not text,
        seconds=first_s,
        again_s=again_s,
        down_bytes=down_bytes,
        again_bytes=met.proxy.down_bytes - down_bytes,
        said=text,
        learnt=learnt,
    )


def _publish(publisher: Publisher, version: str, row: Row) -> None:
    """Publish; a broker that keeps nothing refuses that, and is served instead."""
    with contextlib.suppress(*((SlotcastError,) if row.serves or row.reason else ())):
        publisher.publish(MODEL, version)


def _update(device: Device) -> tuple[float, str]:
    """Run the device until its release is settled; give the seconds, and why it was not."""
    began_s = time.monotonic()
    process = device.spawn("--once", "--timeout", str(TIMEOUT_S))
    code = process.wait(TIMEOUT_S + 60)
    took_s = time.monotonic() - began_s
    return took_s, "" if code == 0 else f"exit {code}: {process.stderr[-3000:]}"


def _run_in_vain(device: Device, met: Met, row: Row) -> Outcome:
    """Run the device until it says why it cannot finish, in its status and in its log."""
    log_path = device.config_path.parent / "log.txt"
    command = [sys.executable, "-m", "slotcast_device", "run"]
    reason = detail = ""
    is_logged = False
    began_s = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(device.config_path)], stdin=subprocess.DEVNULL, stderr=log
        )
        try:
            while (
                not (is_logged and reason == row.reason) and time.monotonic() < began_s + GIVE_UP_S
            ):
                time.sleep(_LOOK_EVERY_S)  # to look, not to wait for something that could be told
                reason, detail = _why(device)
                is_logged = f"{row.reason}: " in log_path.read_text(errors="replace")
            took_s = time.monotonic() - began_s
        finally:
            process.terminate()
            process.wait(60)
    return Outcome(
        is_finished=False,
        seconds=took_s,
        down_bytes=met.proxy.down_bytes,
        said=f"{reason}: {detail}",
        is_logged=is_logged,
        learnt=_learnt(device),
    )


def _why(device: Device) -> tuple[str, str]:
    """Give reason and detail of the status once it says that something is wrong."""
    command = device.command("status", "--json")
    if command.wait(60):
        return "", ""
    (model,) = json.loads(command.stdout)["models"]
    is_wrong = model["reason"] not in _NOT_WRONG
    if not is_wrong and not (model["reason"] == "no_notice" and model["detail"]):
        return "", ""
    return model["reason"], model["detail"]


def _learnt(device: Device) -> str:
    """Give, in words, what the device keeps of the broker."""
    book = BrokerBook(device.config, OsDisk(), int(time.time()))
    (broker,) = device.config.values.brokers
    limits = book.of(broker.name)
    return "; ".join([f"MQTT {limits.protocol}" if limits.protocol else "", *limits.words()])


def _figure(row: Row, outcome: Outcome, clean: Outcome) -> Figure:
    if not row.reason:
        return Figure(
            f"{row.name}: finishes",
            int(outcome.is_finished),
            "",
            limit=1,
            better="==",
            note=_cost(row, outcome, clean) if outcome.is_finished else outcome.said,
        )
    is_word = outcome.said.partition(":")[0] == row.reason
    return Figure(
        f"{row.name}: until it says why",
        outcome.seconds if is_word and outcome.is_logged else float("nan"),
        "s",
        limit=WHY_S,
        note=outcome.said,
    )


def _cost(row: Row, outcome: Outcome, clean: Outcome) -> str:
    times = f"{outcome.seconds:.1f} s, again {outcome.again_s:.1f} s"
    if row is CLEAN:
        return times
    more = outcome.down_bytes / clean.down_bytes, outcome.again_bytes / clean.again_bytes
    return f"{times}; bytes {more[0]:.2f} x, again {more[1]:.2f} x; {outcome.learnt}"


_HEAD: Final = (
    (
        "| broker or limit | finishes | first update, s | next one, s"
        " | bytes down of each, to the clean link's | learnt; or why it does not finish |"
    ),
    "|---|---|---|---|---|---|",
)
_BEGIN: Final = "<!-- table: written by python -m benchmarks brokers --table docs/brokers.md -->"
_END: Final = "<!-- end of table -->"


def _line(row: Row, outcome: Outcome, clean: Outcome) -> str:
    """Give the row as Markdown."""
    if not outcome.is_finished:
        said = re.sub(r"\b127\.0\.0\.1:\d+\b", "broker", outcome.said)
        said = re.sub(r"\brow\d+/", "", re.sub(r"[0-9a-f]{64}", "…", said))
        return f"| {row.name} | no | {outcome.seconds:.1f} | | | *why*: {said} |"
    first, again = outcome.down_bytes, outcome.again_bytes
    cells = [
        row.name,
        "yes",
        f"{outcome.seconds:.1f}",
        f"{outcome.again_s:.1f}",
        f"{first / clean.down_bytes:.2f}, {again / clean.again_bytes:.2f}",
        outcome.learnt,
    ]
    return f"| {' | '.join(cells)} |"


def _write_table(path: Path, lines: Mapping[str, str]) -> None:
    """Put the rows that were run into the table of the page; those of other runs stay."""
    before, _, rest = path.read_text().partition(_BEGIN)
    old, _, after = rest.partition(_END)
    if not after:
        raise CannotRun(f"{path}: expected the marks {_BEGIN} and {_END}")
    known = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()}
    known |= lines
    rows = [known[row.name] for row in ROWS if row.name in known]
    path.write_text(before + "\n".join([_BEGIN, "", *_HEAD, *rows, "", _END]) + after)
