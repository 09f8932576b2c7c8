"""What applications report of the model they run: the file's format, writing and reading it.

Each process writes `report-<instance>-<slot>.json` into the model's `app` folder, replaced
atomically, with counts that only grow while it runs that release. The agent reads them; it trusts
none: files are bounded in size and number, links and pipes are not followed, every field is
checked. `docs/application.md` tells other languages how to write one by a few lines of shell.
`window` adds them up; what they mean for a trial is judged in `trial`.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
import time
from operator import ge
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.fields import (
    SLOT_PATTERN,
    Count,
    Detail,
    Format,
    Seconds,
    ShortText,
    UnixTime,
    Word,
)
from slotcast_schemas.plain_files import replace_plain

REPORT_MAX_BYTES: Final = 32 * 1024
"""The most bytes of a report that is read."""
REPORTS_MAX: Final = 64
"""The most reports of one model that are read, the newest; more processes than that share a summary
by sampling."""

REPORTS_FOLDER_MODE: Final = 0o1770
"""The rights of the folder for reports: the owner's group may add files, and only who wrote one may
remove it (sticky)."""
BOUNDS_MAX: Final = 512
"""The most bounds of a histogram in a report."""
STALE_AFTER_S: Final = 3600.0
"""The age in seconds at which a report is of a process that is gone, and is removed; a process that
lives writes it again."""

Phase = Literal["loading", "serving", "retired", "failed", "gone"]
"""Where a process stands with a release; `gone` is what `liveness` makes of one that has stopped
writing."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an application could not take a release over."""

    reason: Word
    detail: Detail = ""


class AppReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process's figures of the release in one slot. Only `slot` and `phase` must be given.

    Attributes:
        slot: the slot whose files it opened.
        sequence: of the release, where the application knows it.
        instance: anything that differs from one start of the application to the next.
        uptime_s: of the machine when this was written (/proc/uptime). It is not compared with
            another clock; 0 says that nothing is known, and the process is taken to be alive.
        requests: that were answered or raised; None from an application that does not count them.
        invalid: more requests that raised because no release here takes such: a caller's mistake.
        bounds_s, counts: latency histogram; one count more than bounds, not cumulative.
        checked, nonfinite: outputs looked at, and those of them with NaN or infinity.
    """

    format: Format = 1
    slot: Annotated[str, Meta(pattern=SLOT_PATTERN)]
    phase: Phase
    sequence: Count = 0
    instance: ShortText = ""
    time: UnixTime = 0
    uptime_s: Seconds = 0.0
    requests: Count | None = None
    errors: Count = 0
    checked: Count = 0
    nonfinite: Count = 0
    bounds_s: Annotated[tuple[Seconds, ...], Meta(max_length=BOUNDS_MAX)] = ()
    counts: Annotated[tuple[Count, ...], Meta(max_length=BOUNDS_MAX + 1)] = ()
    sum_s: Seconds = 0.0
    max_s: Seconds = 0.0
    rss_bytes: Count = 0
    peak_rss_bytes: Count = 0
    load_s: Seconds = 0.0
    output_mean: float | None = None
    output_std: float | None = None
    failure: Failure | None = None
    invalid: Count = 0

    def __post_init__(self) -> None:
        """Check what no single field can say.

        Raises:
            ValueError: bounds that do not rise, or counts that do not fit them.
        """
        if self.counts and len(self.counts) != len(self.bounds_s) + 1:
            raise ValueError(
                f"expected {len(self.bounds_s) + 1} counts for {len(self.bounds_s)} bounds,"
                f" got {len(self.counts)}"
            )
        if any(map(ge, self.bounds_s, self.bounds_s[1:])):
            raise ValueError("expected bounds_s to rise")


make_decoders(AppReport)


_UMASK: Final = threading.Lock()
"""Held while the umask is changed: otherwise two devices in one process could each put back the
other's."""


def make_reports_folder(folder: Path) -> None:
    """Make a model's `app` folder, if there is none: applications of its group write there.

    Sticky, so that none removes another's report; the agent owns the folder, so it removes any.
    The group and the set-group-id bit come from the folder above, if that has the bit. One that
    is there, or a link to one on a tmpfs, stays as it is.

    Call it before the process has threads: it sets the umask for a moment. A sandbox that forbids
    to set bits for groups later (systemd's RestrictSUIDSGID) leaves no other way.

    Raises:
        OSError: it cannot be made.
    """
    with _UMASK:
        umask = os.umask(0)
        try:
            folder.mkdir(mode=REPORTS_FOLDER_MODE)
        except FileExistsError:
            return
        finally:
            os.umask(umask)


def write_report(folder: Path, report: AppReport) -> None:
    """Replace this process's report of that slot.

    Not made durable: after a power cut the process is gone, and its figures with it.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"report-{report.instance}-{report.slot}.json"
    # The agent is another user, whatever this one's umask is.
    replace_plain(folder / name, msgspec.json.encode(report), 0o644)


class ReportFile(msgspec.Struct, frozen=True):
    """A report as it lay in the folder; one that was written again differs.

    Attributes:
        name: of the file; it tells one process from another.
        stamp: inode and time of change of the file.
    """

    name: str
    stamp: tuple[int, int]
    report: AppReport


class Found(msgspec.Struct, frozen=True):
    """The reports of a folder, newest first, and how many files were not reports.

    Attributes:
        malformed: not what a report is.
        unreadable: not open to this user.
    """

    files: tuple[ReportFile, ...] = ()
    malformed: int = 0
    unreadable: int = 0

    @property
    def reports(self) -> tuple[AppReport, ...]:
        """What the files say."""
        return tuple(file.report for file in self.files)


def uptime_s() -> float:
    """How long the machine has been up, sleep included; the same clock in every process."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def read_reports(folder: Path) -> Found:
    """Read what applications wrote. Whatever lies there, it ends soon and takes little memory."""
    files, malformed, unreadable = [], 0, 0
    for path, _ in _find_newest(folder)[:REPORTS_MAX]:
        try:
            data, stamp = _read_plain(path)
            files.append(ReportFile(path.name, stamp, msgspec.json.decode(data, type=AppReport)))
        except PermissionError:
            unreadable += 1
        except (OSError, *UNDECODABLE):
            malformed += 1
    return Found(tuple(files), malformed, unreadable)


def malformed_reports(folder: Path) -> list[str]:
    """Say of each file that should be a report and is none what is wrong with it."""
    problems = []
    for path, _ in _find_newest(folder)[:REPORTS_MAX]:
        try:
            data, _ = _read_plain(path)
            convert(msgspec.json.decode(data), AppReport, path.name)
        except UsageError as exc:
            problems.append(str(exc))
        except UNDECODABLE as exc:
            problems.append(f"{path.name}: {exc}")
        except OSError:
            continue  # gone, or not ours to read, which is counted elsewhere
    return problems


def forget_reports(
    folder: Path, *, slot: str | None = None, stale_after_s: float | None = None
) -> None:
    """Remove reports of a slot that is to get another release, or those of processes long gone.

    Before the switch, so that a report of the slot's earlier release is never taken for one of
    the new release, whatever the clocks say.

    Args:
        folder: the model's `app` folder.
        slot: remove the reports of this slot.
        stale_after_s: remove what is older than this, both by the clock and by the newest of them:
            where the clock was set, one of the two is wrong, and a process that lives is kept.
    """
    found = _find_newest(folder)
    newest_s = max((modified for _, modified in found), default=0.0)
    oldest_s = -math.inf
    if stale_after_s is not None:
        oldest_s = min(newest_s, time.time()) - stale_after_s
    for path, modified in found:
        is_of_slot = slot is not None and path.stem.endswith(f"-{slot}")
        if is_of_slot or modified < oldest_s:
            with contextlib.suppress(OSError):
                path.unlink()


def _find_newest(folder: Path) -> list[tuple[Path, float]]:
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("report-") and entry.name.endswith(".json"):
                with contextlib.suppress(OSError):
                    modified = entry.stat(follow_symlinks=False).st_mtime
                    found.append((Path(entry.path), modified))
    return sorted(found, key=lambda pair: -pair[1])


def _read_plain(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Read a small regular file; not a link, a pipe or a device. Gives its bytes and its stamp."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name}: expected a regular file")
        data = file.read(REPORT_MAX_BYTES + 1)
    if len(data) > REPORT_MAX_BYTES:
        raise ValueError(f"{path.name}: expected at most {REPORT_MAX_BYTES} bytes")
    return data, (status.st_ino, status.st_mtime_ns)
