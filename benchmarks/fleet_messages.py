"""What the devices of a large fleet say, for measurements: as ours would send it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_schemas.messages import Metrics, Status
from slotcast_schemas.messages.metrics import Latency, Summary
from slotcast_schemas.messages.status import (
    Check,
    Evidence,
    Inventory,
    LinkStatus,
    ModelStatus,
    SlotStatus,
    StatusFile,
    Target,
)
from slotcast_schemas.signed_report import Signer, encode_report
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics

WINDOW_S: Final = 60
"""The seconds that one summary is of, and between two messages of a device."""
STEP_EVERY: Final = 60
"""A device's state changes with each so many of its statuses: once an hour."""
_CHECKS: Final = ("loads", "contract", "golden", "finite", "latency_p50", "latency_p95", "memory")


def said_in_a_minute(
    topics: Topics,
    devices: int,
    minute: int,
    start_s: int,
    window_s: int = WINDOW_S,
    signers: Mapping[str, Signer] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Give topic and bytes of a status and of metrics of each device.

    Args:
        topics: below a prefix.
        devices: how many there are.
        minute: which minute since the start it is; counters grow with it.
        start_s: when the first began, seconds since 1970.
        window_s: the seconds that a summary is of, if it is not a minute.
        signers: the keys of devices that sign, by their ids.
    """
    now_s = start_s + (minute + 1) * window_s
    for number in range(devices):
        device = f"camera-{number:05}"
        status = _status(device, number, minute, now_s)
        metrics = _metrics(device, number, minute, now_s)
        signer = None if signers is None else signers.get(device)
        yield topics.device(device, "status"), encode_report(status, signer)
        yield topics.device(device, "metrics"), encode_report(metrics, signer)


def _status(device: str, number: int, minute: int, now_s: int) -> Status:
    step = (minute + number) // STEP_EVERY
    state = (State.COMMITTED, State.TRIAL)[step % 2]
    release = SlotStatus(
        slot="ab"[step % 2],
        version="1.4.0",
        sequence=14,
        files=(StatusFile(path="model.onnx", size_bytes=8_600_000, sha256=bytes(32)),),
    )
    model = ModelStatus(
        model="detector",
        state=state,
        reason="committed" if state is State.COMMITTED else "on_trial",
        since=now_s - minute * WINDOW_S,
        floor=13,
        target=Target(version="1.4.0", sequence=14, deployment="detector-1.4", group="canary"),
        active=release,
        standby=release,
        evidence=Evidence(
            sequence=14,
            checks=tuple(
                Check(name=name, passed=True, value=0.02, limit=0.04, reference=0.019)
                for name in _CHECKS
            ),
        ),
        notice="valid",
        notice_expires=now_s + 86_400,
    )
    return Status(
        device=device,
        counter=minute + 1,
        time=now_s,
        inventory=Inventory(
            software="0.9.0",
            runtime="1.20.1",
            machine="aarch64",
            memory_bytes=4_000_000_000,
            disk_free_bytes=9_000_000_000 - minute,
            tags={"site": f"site-{number % 40}", "board": f"rev-{number % 3}"},
        ),
        models=(model,),
        link=LinkStatus(broker="broker:8883", protocol="5", reason="connected", since=now_s - 60),
    )


def _metrics(device: str, number: int, minute: int, now_s: int) -> Metrics:
    """A summary of one window: some 600 requests, of latencies that fall into ten buckets."""
    counts = [0] * (len(GRID_S) + 1)
    for place, count in enumerate((2, 9, 40, 130, 200, 130, 60, 20, 7, 2)):
        counts[22 + number % 5 + place] = count + minute % 3
    latency = Latency(
        p50_s=0.019,
        p95_s=0.031,
        p99_s=0.044,
        max_s=0.09,
        sum_s=12.2 + minute % 7 / 10,
        bounds_s=GRID_S,
        counts=tuple(counts),
    )
    summary = Summary(
        model="detector",
        version="1.4.0",
        sequence=14,
        start=now_s - WINDOW_S,
        end=now_s,
        requests=sum(counts),
        errors=minute % 2,
        latency=latency,
        rss_bytes=180_000_000 + number,
        peak_rss_bytes=210_000_000 + minute,
        load_s=0.61,
        output_mean=0.031,
        output_std=0.88,
    )
    return Metrics(device=device, counter=minute + 1, time=now_s, summaries=(summary,))
