"""What a library builds at its first use, used first by many threads at once, in this process.

    python -m tests.support.first_use decode MODULE:NAME ...
    python -m tests.support.first_use verify NOTICE ROOT FOLDER
    python -m tests.support.first_use unpack PACKED FOLDER
    python -m tests.support.first_use model FILE SAMPLES

Each is run in a fresh process, because the first time comes once. It ends with 0 where every
thread got what it should, and by a signal where the library crashes. Types have a first time each,
so several are decoded one after the other, and named as they are begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Final

THREADS: Final = 8
IMAGE: Final = b"label\n" * 50_000


def decode(*names: str) -> None:
    """Decode maps with one field each, the last field first: a decoder is made in their order.

    While msgspec makes one it calls Python, where other threads may come in; here they do.

    Args:
        names: of types, each with its module before a colon.
    """
    made = _let_others_in("msgspec")
    for name in names:
        sys.stderr.write(f"decoding {name}\n")
        _decode_first(name)
        if made:
            raise AssertionError(f"made at the first decode, by {sorted(made)}")


def _decode_first(name: str) -> None:
    module, _, type_name = name.partition(":")
    kind = getattr(importlib.import_module(module), type_name)
    msgspec = importlib.import_module("msgspec")

    def one(number: int) -> None:
        del number
        for field in reversed(kind.__struct_encode_fields__):
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert({field: [[]]}, kind)

    _at_once(one)


def verify(notice: str, root: str, folder: str) -> None:
    """Verify a notice, each thread in a folder of its own, as a device with many models does."""
    from slotcast_device.storage.trust_store import verify_notice

    data, pinned = Path(notice).read_bytes(), Path(root).read_bytes()
    _let_others_in("tuf", "securesystemslib")
    _at_once(lambda number: verify_notice(data, "clf", pinned, Path(folder) / str(number)))


def unpack(packed: str, folder: str) -> None:
    """Rebuild an image from a full payload, and one from a delta.

    Args:
        packed: a file of `IMAGE` packed by zstd.
        folder: with `base.bin`, `v1.delta` and the `image.bin` that they give.
    """
    from slotcast_schemas.codecs.delta.decoder import decode_delta
    from slotcast_schemas.codecs.full import decode_full
    from slotcast_schemas.codecs.source import FileSource

    assets = Path(folder)
    want = (assets / "image.bin").read_bytes()

    def one(number: int) -> None:
        del number
        whole, rebuilt = bytearray(), bytearray()
        decode_full(
            FileSource(Path(packed)),
            image_size_bytes=len(IMAGE),
            sink=whole.extend,
            compression="zstd",
        )
        decode_delta(
            FileSource(assets / "v1.delta"),
            FileSource(assets / "base.bin"),
            image_size_bytes=len(want),
            base_sha256=hashlib.sha256((assets / "base.bin").read_bytes()).digest(),
            sink=rebuilt.extend,
        )
        if whole != IMAGE or rebuilt != want:
            raise AssertionError("an image came out wrong")

    _at_once(one)


def model(file: str, samples: str) -> None:
    """Read samples, open a session of its own in each thread, and run it."""
    import numpy as np
    import onnxruntime

    from slotcast_schemas.samples import read_samples

    def one(number: int) -> None:
        feed = read_samples(Path(samples)).feed(number % 2)
        (scores,) = onnxruntime.InferenceSession(file).run(["scores"], feed)
        if not np.isfinite(scores).all():
            raise AssertionError(scores)

    _at_once(one)


def _let_others_in(*packages: str) -> set[str]:
    """Have the threads that are started from now on give way in each function of these.

    Returns:
        The names of these functions, filled as they are called.
    """
    inside = tuple(f"/{name}/" for name in packages)
    called: set[str] = set()

    def give_way(frame: FrameType, event: str, arg: object) -> None:
        del arg
        if event == "call" and any(part in frame.f_code.co_filename for part in inside):
            called.add(frame.f_code.co_name)
            time.sleep(0)  # lets go of the interpreter's lock

    threading.setprofile(give_way)
    return called


def _at_once(do: Callable[[int], object]) -> None:
    """Let all threads do it at the same time; raises what one of them raised."""
    gate = threading.Barrier(THREADS)

    def one(number: int) -> None:
        gate.wait()
        do(number)

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(THREADS)))


CASES: Final[Mapping[str, Callable[..., None]]] = {
    "decode": decode,
    "verify": verify,
    "unpack": unpack,
    "model": model,
}

if __name__ == "__main__":
    CASES[sys.argv[1]](*sys.argv[2:])
