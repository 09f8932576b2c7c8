"""One update of 8.6 MB through 100 cuts of the link and 10 restarts of the broker.

A device process with the settings that `slotcast provision` writes, behind the fault proxy; a
Mosquitto that is restarted ten times, every other time without anything that it had kept; and
`slotcast serve`, which fills it again. What is counted are bytes on the device's socket.
"""

from __future__ import annotations

import functools
import random
import time
from pathlib import Path
from typing import Final

from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher import provision as provisioning
from slotcast_publisher.settings import Settings
from slotcast_schemas.messages.offer import Payload
from tests.support import models as zoo
from tests.support.brokers import Broker, mosquitto
from tests.support.engine import BrokerUnavailable
from tests.support.fleet import Device, Publisher
from tests.support.proxy import Counters, Plan, Proxy
from tests.support.serving import Served, serving

MODEL: Final = "clf"
DEVICE: Final = "bench"
TIMEOUT_S: Final = 600.0
_SIZE_BYTES: Final = 8_600_000


def run(options: Options) -> list[Figure]:
    """Run the update and say what it cost, beside the same over an untouched link."""
    cuts, restarts = (20, 4) if options.quick else (100, 10)
    publisher = _publisher(options)
    try:
        with mosquitto("development", is_persistent=True) as broker:
            calm = _update(options, publisher, broker, "calm", cuts=0, restarts=0)
            rough = _update(options, publisher, broker, "rough", cuts=cuts, restarts=restarts)
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc
    return [*_figures("untouched link", calm), *_figures("cuts and restarts", rough)]


class _Outcome:
    """What one update cost."""

    def __init__(self, proxy: Proxy, served: Served, payload: Payload) -> None:
        counters = proxy.counters
        self.down_bytes, self.up_bytes = counters.down_bytes, counters.up_bytes
        self.cuts, self.connections = counters.cuts, counters.connections
        self.payload_bytes = payload.size_bytes
        self.republished = sum(line["sent"] for line in served.of("answered")[-1:])
        self.restarts = 0
        self.took_s = 0.0


def _publisher(options: Options) -> Publisher:
    """Release a real model of this size if there is one, else one of random weights."""
    real = None if options.models is None else options.models / "c_v1.onnx"
    data = real.read_bytes() if real and real.exists() else zoo.large(size_bytes=_SIZE_BYTES)
    publisher = Publisher.make(options.work / "repo", settings=Settings())
    publisher.release(MODEL, "1", {"model.onnx": data})
    return publisher


def _update(
    options: Options, publisher: Publisher, broker: Broker, name: str, *, cuts: int, restarts: int
) -> _Outcome:
    options.say(f"{name}: {cuts} cuts, {restarts} restarts")
    copy = publisher.copy(options.work / name, broker.url, prefix=name)
    copy.publish(MODEL, "1")
    offer = copy.repo.present_offer(MODEL)
    if offer is None:
        raise CannotRun("nothing is offered, though it was just published")
    payload = offer.payloads[0]
    marks = _marks(cuts, payload.size_bytes, options.seed)
    with (
        serving(copy.path, times=None, look_every_s=5.0, seed=options.seed) as served,
        Proxy((broker.host, broker.port), Plan(cut_at_bytes=marks)) as proxy,
    ):
        served.wait_for("connected")
        device = _device(copy, proxy, options.work / f"{name}-device")
        began_s = time.monotonic()
        process = device.spawn("--once", "--timeout", str(TIMEOUT_S))
        try:
            for number in range(restarts):
                mark = payload.size_bytes * (number + 1) // (restarts + 2)
                proxy.wait_for(functools.partial(_is_past, mark), TIMEOUT_S)
                broker.restart(keep_data=number % 2 == 0)
                options.say(f"{name}: restart {number + 1}, {proxy.counters.down_bytes} bytes down")
            code = process.wait(TIMEOUT_S)
        finally:
            if process.ends_within(0) is False:
                process.kill()
        outcome = _Outcome(proxy, served, payload)
    outcome.took_s = time.monotonic() - began_s
    outcome.restarts = restarts
    if code != 0:
        raise CannotRun(f"the device ended with {code}:\n{process.stderr[-3000:]}")
    return outcome


def _is_past(mark: int, counters: Counters) -> bool:
    return counters.down_bytes > mark


def _marks(cuts: int, size_bytes: int, seed: int) -> tuple[int, ...]:
    """Spread the cuts over the payload, each somewhere in its share of it."""
    rng = random.Random(seed)
    share = size_bytes // max(1, cuts)
    return tuple(number * share + rng.randrange(share // 4, share) for number in range(cuts))


def _device(publisher: Publisher, proxy: Proxy, folder: Path) -> Device:
    url = f"mqtt://127.0.0.1:{proxy.port}"
    provisioning.provision(publisher.repo, DEVICE, folder, models=(MODEL,), brokers=(url,))
    return Device(folder / "device.toml")


def _figures(what: str, found: _Outcome) -> list[Figure]:
    ratio = found.down_bytes / found.payload_bytes
    return [
        Figure(f"{what}: link cut", found.cuts, "times"),
        Figure(f"{what}: broker restarted", found.restarts, "times", note="every other one empty"),
        Figure(f"{what}: connections", found.connections, ""),
        Figure(f"{what}: payload", found.payload_bytes, "bytes"),
        Figure(f"{what}: down", found.down_bytes, "bytes"),
        Figure(f"{what}: up", found.up_bytes, "bytes"),
        Figure(f"{what}: down / payload", ratio, "ratio", limit=1.5 if found.cuts else 1.02),
        Figure(f"{what}: chunks republished by serve", found.republished, ""),
        Figure(f"{what}: until committed", found.took_s, "s", limit=180.0),
    ]
