"""Metrics: latency, memory and errors of a model on a device, summed up over a window of time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import (
    Count,
    DeviceId,
    Finite,
    Format,
    MaybeSha256,
    ModelName,
    Requires,
    Seconds,
    Sequence,
    Signature,
    UnixTime,
    Version,
)
from slotcast_schemas.wire import Message


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of requests, in seconds; `counts[i]` is of those up to `bounds_s[i]`, not cumulative.

    `counts` has one more entry than `bounds_s`: requests above the last bound.
    """

    p50_s: Seconds
    p95_s: Seconds
    p99_s: Seconds
    max_s: Seconds
    sum_s: Seconds
    bounds_s: Annotated[tuple[Seconds, ...], Meta(max_length=64)] = ()
    counts: Annotated[tuple[Count, ...], Meta(max_length=65)] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One release of one model over one window of time.

    `errors` counts requests that raised although they are such as the model takes, `invalid` those
    beside `requests` that it does not take; `nonfinite` outputs with NaN or infinity among those
    that were looked at; `rss_bytes` is of the process that runs the model; `release_sha256` of the
    signed release, empty from devices that do not say.
    """

    model: ModelName
    version: Version
    sequence: Sequence
    start: UnixTime
    end: UnixTime
    requests: Count
    errors: Count = 0
    nonfinite: Count = 0
    latency: Latency | None = None
    rss_bytes: Count = 0
    peak_rss_bytes: Count = 0
    load_s: Seconds = 0.0
    output_mean: Finite | None = None
    output_std: Finite | None = None
    on_trial: bool = False
    invalid: Count = 0
    release_sha256: MaybeSha256 = b""


class Metrics(Message, frozen=True, kw_only=True, tag_field="kind", tag="metrics"):
    """Summaries since the last message; after offline hours several, oldest first.

    `dropped` counts summaries that the device's bounded ring had to forget. `signature` is as that
    of a status, and stays the last field.
    """

    KIND = "metrics"
    MAX_BYTES = limits.METRICS_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    counter: Count
    time: UnixTime
    summaries: Annotated[tuple[Summary, ...], Meta(max_length=64)]
    dropped: Count = 0
    signature: Signature | None = None
