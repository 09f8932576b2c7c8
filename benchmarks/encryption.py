"""What encryption costs a device: bytes of the transfer, and processor time from notice to commit.

The same model is released in the clear and encrypted, each at a Mosquitto of its own, and new
devices fetch them by turns, so that whatever else the machine does weighs on both alike. Processor
time is that of the device's process and of the probe's, all of it; opening chunks is measured by
itself, too, beside what a device does with the same bytes anyway: hash, decode, hash. What slots
that are encrypted at rest cost is in `encryption_at_rest`.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.device_run import Run
from benchmarks.encryption_at_rest import AtRestWorld
from benchmarks.encryption_at_rest import measure as measure_at_rest
from benchmarks.report import CannotRun, Figure, Options
from benchmarks.transfer_world import (
    FAST_BYTES_PER_S,
    MODEL,
    World,
    command,
    generated_model,
    run_json,
)
from slotcast_device.storage.encryption_key import KEY_FILE
from slotcast_schemas.codecs.encrypted import EncryptedSource, seal_chunks
from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.source import MemorySource, Source
from tests.support.brokers import mosquitto
from tests.support.engine import BrokerUnavailable
from tests.support.proxy import Plan, Proxy

SIZE_BYTES, QUICK_SIZE_BYTES = 90_000_000, 20_000_000
CHUNK_BYTES: Final = 32 * 1024
TRIES: Final = 5


class EncryptedWorld(World):
    """The same for an encrypted release; every device has the keys of the one that was enrolled."""

    def enrol(self) -> None:
        """Make a device's keys, and make it a recipient."""
        self._first = self.options.work / "enrolled"
        words = ("--model", MODEL, "--broker", self.broker.url)
        run_json("provision", self.repo, "bench-0", self._first, *words)
        request = self.options.work / "request.json"
        run_device_command("enrol", self._first, "--out", str(request))
        run_json("devices", "enrol", self.repo, request)
        run_json("recipients", "add", self.repo, MODEL, "bench-0", "--no-passphrase")
        run_json("recipients", "always", self.repo, MODEL)

    def _make_way(self, out: Path) -> None:
        super()._make_way(out)
        (out / "state").mkdir(mode=0o750)
        shutil.copy(self._first / "state" / KEY_FILE, out / "state")


def run_device_command(name: str, folder: Path, *words: str) -> None:
    """Run a command of `slotcast-device`.

    Raises:
        CannotRun: it failed.
    """
    config = ["--config", str(folder / "device.toml")]
    done = subprocess.run([command("slotcast-device"), name, *config, *words], check=False)
    if done.returncode:
        raise CannotRun(f"slotcast-device {name} failed with {done.returncode}")


def run(options: Options) -> list[Figure]:
    """Measure both by turns."""
    try:
        from cryptography.hazmat.primitives import hpke  # noqa: F401
    except ImportError as exc:
        raise CannotRun(f"the installed cryptography has no HPKE: {exc}") from exc
    size_bytes = QUICK_SIZE_BYTES if options.quick else SIZE_BYTES
    model = generated_model(options.work / "model.onnx", size_bytes, options.seed)
    try:
        with ExitStack() as stack:
            brokers = [stack.enter_context(mosquitto("development")) for _ in range(3)]
            clear = World(_in_folder(options, "clear"), brokers[0])
            sealed = EncryptedWorld(_in_folder(options, "sealed"), brokers[1])
            sealed.enrol()
            resting = AtRestWorld(_in_folder(options, "at-rest"), brokers[2])
            for world in (clear, sealed, resting):
                world.publish("1.0", model)
            figures = _bytes(clear, sealed) + _processor(clear, sealed) + _opening(model, options)
            return figures + measure_at_rest(resting)
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc


def _in_folder(options: Options, name: str) -> Options:
    folder = options.work / name
    folder.mkdir()
    return replace(options, work=folder)


def _bytes(clear: World, sealed: World) -> list[Figure]:
    found = []
    for world in (clear, sealed):
        with Proxy((world.broker.host, world.broker.port), Plan()) as proxy:
            _fetch(world, proxy.port)
            found.append(proxy.counters.total_bytes)
    before, after = found
    return [
        Figure(
            "bytes of the transfer, encrypted / in the clear",
            after / before,
            "ratio",
            limit=1.001,
            note=f"{after:,} against {before:,}; the list of keys is among them",
        )
    ]


def _processor(clear: World, sealed: World) -> list[Figure]:
    ours, theirs = [], []
    for _ in range(TRIES):
        theirs.append(_processor_s(clear))
        ours.append(_processor_s(sealed))
    return [
        Figure(
            "processor time of a device, encrypted / in the clear",
            median(ours) / median(theirs),
            "ratio",
            limit=1.10,
            note=f"{median(ours):.2f} s against {median(theirs):.2f} s, start and probe included",
        )
    ]


def _processor_s(world: World) -> float:
    return _fetch(world, world.broker.port).processor_s


def _fetch(world: World, port: int) -> Run:
    run_ = world.run_device(port, is_observed=False, link_bytes_per_s=FAST_BYTES_PER_S)
    if "full+zstd" not in run_.logged_line(": collecting 1.0"):
        raise CannotRun(f"the device took another payload: {run_.logged_line('collecting')}")
    return run_


def _opening(model: Path, options: Options) -> list[Figure]:
    """What is done with each byte between the link and the slot, without either."""
    import zstandard

    data = model.read_bytes()
    plain = zstandard.ZstdCompressor(level=1).compress(data)
    key, read = bytes(32), io.BytesIO(plain).read
    chunks = seal_chunks(read, key, plain_bytes=len(plain), chunk_size_bytes=CHUNK_BYTES)
    sealed = b"".join(chunks)

    def opened() -> Source:
        source = MemorySource(sealed)
        return EncryptedSource(source, key, size_bytes=len(sealed), chunk_size_bytes=CHUNK_BYTES)

    options.say("hash, open, decode, hash")
    theirs, ours = [], []
    for _ in range(TRIES):
        theirs.append(_rebuild_s(plain, MemorySource(plain), len(data)))
        ours.append(_rebuild_s(sealed, opened(), len(data)))
    gained_s = max(min(ours) - min(theirs), 1e-9)
    return [
        Figure(
            "hash, open, decode and hash / the same without opening",
            min(ours) / min(theirs),
            "ratio",
            note=f"without link, disk and MQTT; chunks open at {len(sealed) / gained_s / 1e6:.0f}"
            " MB/s",
        )
    ]


def _rebuild_s(received: bytes, source: Source, size_bytes: int) -> float:
    start_s = time.process_time()
    for at in range(0, len(received), CHUNK_BYTES):
        hashlib.sha256(received[at : at + CHUNK_BYTES]).digest()
    digest = hashlib.sha256()
    decode_full(source, image_size_bytes=size_bytes, sink=digest.update, compression="zstd")
    return time.process_time() - start_s
