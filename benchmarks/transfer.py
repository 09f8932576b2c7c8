"""What it costs a device to fetch a release from a real Mosquitto: bytes, time, speed, memory.

Between device and broker stands the counting proxy of the tests: bytes are those of TCP's payload
at the device's socket, both ways, MQTT and all that Slotcast says included. A payload's size is
what a bare paho subscriber receives of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.device_run import Run
from benchmarks.report import CannotRun, Figure, Options
from benchmarks.transfer_against import compare
from benchmarks.transfer_world import (
    FAST_BYTES_PER_S,
    Bare,
    World,
    bare_subscriber,
    generated_model,
)
from slotcast_schemas.states import State
from tests.support.brokers import mosquitto
from tests.support.engine import BrokerUnavailable
from tests.support.proxy import Counters, Plan, Proxy

SLOW_BITS_PER_S: Final = 1_000_000
CUT_BITS_PER_S: Final = 20_000_000
CUT_EVERY_BYTES: Final = 1_000_000
TRIES: Final = 9
SMALL_BYTES, LARGE_BYTES = 8_700_000, 90_000_000
QUICK_SMALL_BYTES, QUICK_LARGE_BYTES = 3_000_000, 20_000_000


def run(options: Options) -> list[Figure]:
    """Measure a small release on a clean, a slow and a torn link, then speed and memory of two."""
    small, large = _models(options)
    try:
        if options.against is not None:
            return compare(options, options.against, {"small": small, "large": large})
        with mosquitto("development") as broker:
            world = World(_in_folder(options, "small"), broker)
            world.publish("1.0", small)
            figures = _wire(world) + _speed(world, "small")
            small_peak = _peak(world)
        with mosquitto("development") as broker:
            other = World(_in_folder(options, "large"), broker)
            other.publish("1.0", large)
            figures += _speed(other, "large")
            return figures + _memory(small_peak, _peak(other), small, large)
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc


def _wire(world: World) -> list[Figure]:
    bare = bare_subscriber(world.broker, world.offered())
    return _clean(world, bare) + _slow(world, bare) + _cut(world, bare)


def _models(options: Options) -> tuple[Path, Path]:
    real = options.models / "c_v1.onnx" if options.models else None
    small_bytes = QUICK_SMALL_BYTES if options.quick else SMALL_BYTES
    large_bytes = QUICK_LARGE_BYTES if options.quick else LARGE_BYTES
    if real is None or options.quick or not real.exists():
        options.say(f"a generated model of {small_bytes:,} bytes stands for the small one")
        real = generated_model(options.work / "small.onnx", small_bytes, options.seed)
    return real, generated_model(options.work / "large.onnx", large_bytes, options.seed)


def _in_folder(options: Options, name: str) -> Options:
    folder = options.work / name
    folder.mkdir()
    return replace(options, work=folder)


def _through(world: World, plan: Plan) -> tuple[Run, Counters]:
    with Proxy((world.broker.host, world.broker.port), plan) as proxy:
        return world.run_device(proxy.port), proxy.counters


def _clean(world: World, bare: Bare) -> list[Figure]:
    world.options.say("a clean link")
    _, counters = _through(world, Plan())
    packets = counters.down_packets.total() + counters.up_packets.total()
    return [
        Figure("payload", bare.payload_bytes, "bytes", note="as a bare subscriber receives it"),
        Figure(
            "wire bytes / payload, clean link",
            counters.total_bytes / bare.payload_bytes,
            "ratio",
            limit=1.015,
            note=f"down {counters.down_bytes:,}, up {counters.up_bytes:,}, {packets} packets",
        ),
    ]


def _slow(world: World, bare: Bare) -> list[Figure]:
    expected_s = bare.payload_bytes * 8 / SLOW_BITS_PER_S
    world.options.say(f"1 Mbit/s: takes about {expected_s:.0f} s")
    plan = Plan(down_bits_per_s=SLOW_BITS_PER_S, up_bits_per_s=SLOW_BITS_PER_S)
    run, counters = _through(world, plan)
    took_s = run.at(State.DOWNLOADED, State.VERIFIED) - run.at(State.IDLE)
    return [
        Figure(
            "time / (payload / rate), 1 Mbit/s",
            took_s / expected_s,
            "ratio",
            limit=1.05,
            note=f"{took_s:.1f} s from connected to DOWNLOADED, {expected_s:.1f} s at best",
        ),
        Figure(
            "wire bytes / payload, 1 Mbit/s", counters.total_bytes / bare.payload_bytes, "ratio"
        ),
    ]


def _cut(world: World, bare: Bare) -> list[Figure]:
    world.options.say("a link that is cut about every 1 MB, at 20 Mbit/s")
    plan = Plan(
        down_bits_per_s=CUT_BITS_PER_S,
        up_bits_per_s=CUT_BITS_PER_S,
        cut_every_bytes=CUT_EVERY_BYTES,
        seed=world.options.seed,
    )
    _, counters = _through(world, plan)
    return [
        Figure(
            "wire bytes / payload, cut about every 1 MB",
            counters.total_bytes / bare.payload_bytes,
            "ratio",
            limit=1.05,
            note=f"{counters.cuts} cuts, at random bytes, by reset",
        ),
        Figure("cuts that were made", counters.cuts, "", limit=1, better=">="),
    ]


def _speed(world: World, title: str) -> list[Figure]:
    """From the first SUBSCRIBE to verified files in the slot, against bare paho; without the proxy.

    The device knows its link to be fast, as after any transfer over it, so it takes the image that
    is easy to undo; the other one is measured by `delta`.

    The device says when by its log, which is read as it is written. Medians of several tries in
    turn, since the machine may be doing something else in any of them.
    """
    world.options.say(f"speed of the {title} release, {TRIES} times")
    bares, rates = [], []
    easy = world.offered("full+zstd")
    for _ in range(TRIES):
        bare = bare_subscriber(world.broker, easy)
        bares.append(bare.payload_bytes / bare.seconds)
        run = world.run_device(
            world.broker.port, is_observed=False, link_bytes_per_s=FAST_BYTES_PER_S
        )
        if easy.codec not in run.logged_line("collecting"):
            raise CannotRun(f"the device took another payload: {run.logged_line('collecting')}")
        took_s = run.logged("is verified in slot") - run.logged("collecting")
        rates.append(bare.payload_bytes / took_s)
    ours, theirs = median(rates), median(bares)
    return [
        Figure(
            f"speed / bare paho subscriber, {title} release",
            ours / theirs,
            "ratio",
            limit=0.5,
            better=">=",
            note=f"{ours / 1e6:.0f} MB/s to the verified file, bare {theirs / 1e6:.0f} MB/s;"
            f" best of each {max(rates) / 1e6:.0f} and {max(bares) / 1e6:.0f}",
        )
    ]


def _peak(world: World) -> int:
    """Peak resident memory of the device process, the larger of two runs, children apart."""
    return max(world.run_device(world.broker.port).peak_rss_bytes for _ in range(2))


def _memory(small_peak: int, large_peak: int, small: Path, large: Path) -> list[Figure]:
    sizes = f"{large.stat().st_size / 1e6:.1f} MB against {small.stat().st_size / 1e6:.1f} MB"
    return [
        Figure("peak memory of the device, small release", small_peak / 1e6, "MB"),
        Figure("peak memory of the device, large release", large_peak / 1e6, "MB"),
        Figure(
            "peak memory, large less small",
            (large_peak - small_peak) / 1e6,
            "MB",
            limit=8.0,
            note=f"releases of {sizes}",
        ),
    ]
