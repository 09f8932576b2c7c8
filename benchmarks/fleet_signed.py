"""What signatures of reports cost: bytes, and processor time of the device and of the intake.

The same minutes of the same devices are taken in, unsigned and then signed by keys that are
enrolled; beside the difference stands what checking a signature takes by itself.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.fleet_messages import WINDOW_S, said_in_a_minute
from benchmarks.report import Figure, Options
from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.fleet.database.database import open_database
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.identity import is_signed_by
from slotcast_schemas.messages import Status
from slotcast_schemas.signed_report import Signer, encode_report
from slotcast_schemas.topics import Topics

DEVICES: Final = 500
QUICK_DEVICES: Final = 100
MINUTES: Final = 9
TOPICS: Final = Topics("signed")
BYTES_LIMIT: Final = 0.08
"""The most that a signature may add to a status, as a share of it."""
PROVING_LIMIT: Final = 1.35
"""The most that a signed message may take more than an unsigned one, in times of what checking its
signature takes by itself."""
_TIMES: Final = 2_000


def run(options: Options) -> list[Figure]:
    """Measure bytes and processor time of signed reports beside unsigned ones."""
    devices = QUICK_DEVICES if options.quick else DEVICES
    names = [f"camera-{number:05}" for number in range(devices)]
    signers = {name: DeviceIdentity(Ed25519PrivateKey.generate()) for name in names}
    _enrol(options.work, signers)
    options.say(f"{MINUTES} minutes of {devices} devices; unsigned, then signed")
    unsigned_us, signed_us = _taken_us(options, devices, signers)
    return [*_bytes_and_making(signers[names[0]]), *_taking(unsigned_us, signed_us)]


def _enrol(repo: Path, signers: Mapping[str, DeviceIdentity]) -> None:
    registry = Registry(repo)
    with registry.changing():
        for device, key in signers.items():
            request = write_enrolment(key.make_request(device))
            registry.enrol(request, device, now_s=time.time())


def _taken_us(options: Options, devices: int, signers: Mapping[str, Signer]) -> tuple[float, float]:
    """Give what a message takes in the intake, unsigned and signed, in processor time."""
    start_s = int(time.time())
    taken: dict[bool, list[float]] = {False: [], True: []}
    stop = threading.Event()
    stop.set()
    bounds = IntakeBounds(batch_wait_s=0.0)
    for is_signed, costs in taken.items():
        keys = KnownKeys(Registry(options.work), lambda problem: options.say(str(problem)))
        with open_database(options.work / f"signed-{is_signed}.db") as database:
            intake = Intake(
                database,
                TOPICS,
                lambda event, **_: options.say(event),
                bounds,
                keys=keys if is_signed else None,
            )
            for minute in range(MINUTES):
                by = signers if is_signed else None
                said = list(said_in_a_minute(TOPICS, devices, minute, start_s, signers=by))
                at_s = float(start_s + (minute + 1) * WINDOW_S)
                for topic, data in said:
                    intake.take(Heard(topic, data, False, at_s, "broker"))
                began_s = time.process_time()
                intake.run(stop)
                costs.append((time.process_time() - began_s) / len(said) * 1e6)
            if intake.dropped:
                raise AssertionError(f"expected nothing dropped, got {intake.dropped}")
    return statistics.median(taken[False][1:]), statistics.median(taken[True][1:])


def _taking(unsigned_us: float, signed_us: float) -> list[Figure]:
    private = Ed25519PrivateKey.generate()
    key, public, data = DeviceIdentity(private), private.public_key(), bytes(1300)
    signature = key.sign(b"bench", data)
    alone_us = _us(lambda: is_signed_by(public, b"bench", data, signature))
    more = (signed_us - unsigned_us) / alone_us
    return [
        Figure("intake of an unsigned message", unsigned_us, "us"),
        Figure("intake of a signed message", signed_us, "us"),
        Figure("checking a signature by itself", alone_us, "us"),
        Figure("what signed messages take more, to that", more, "ratio", PROVING_LIMIT, "<"),
        Figure("messages for which one core has time", 1e6 / signed_us, "/s", 2_000, ">="),
    ]


def _bytes_and_making(key: DeviceIdentity) -> list[Figure]:
    _, data = next(said_in_a_minute(TOPICS, 1, 0, int(time.time())))
    status = wire.decode(data, Status)
    signed = encode_report(status, key)
    share = len(signed) / len(data) - 1
    made_us = _us(lambda: encode_report(status, None))
    signed_us = _us(lambda: encode_report(status, key))
    return [
        Figure("a status, unsigned", len(data), "bytes"),
        Figure("a signature adds, as a share", share, "", BYTES_LIMIT, "<"),
        Figure("making an unsigned status", made_us, "us"),
        Figure("making a signed one", signed_us, "us"),
    ]


def _us(work: Callable[[], object]) -> float:
    """Give the processor time of something, in microseconds."""
    began_s = time.process_time()
    for _ in range(_TIMES):
        work()
    return (time.process_time() - began_s) / _TIMES * 1e6
