"""What the publisher of the simulation publishes: made by the real publisher, once per process.

A repository on disk signs releases of two models and the notices about them, in an order that
TUF allows; each run of the simulation sends some of them, in that order. Chunks and maps are the
publisher's own messages. Releases are a few KiB, so that a run has dozens of chunks, not more.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from slotcast_device.config import DeviceConfig
from slotcast_device.storage.trust_store import verify_notice
from slotcast_publisher.delivery.payload_items import chunk_items, map_items
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.provision import provision
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings
from slotcast_publisher.trust.recipients import Recipient
from slotcast_schemas.content_key import public_bytes
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Notice, Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.verify import Trusted
from slotcast_schemas.wire import decode
from tests.support import models as zoo

MODELS: Final = ("alpha", "beta")
ENCRYPTED: Final = {"beta": frozenset({"2", "4", "5", "6"})}
"""Versions that are encrypted, of a model that begins in the clear and is so once again."""
DEVICE: Final = "sim-1"
CHUNK_BYTES: Final = 1024
DAY_S: Final = 86400
DELTA_WAIT_S: Final = 600
UNFIT_IN_PROBE: Final = "3"
UNFIT_ON_TRIAL: Final = "4"
"""Versions that the simulated probe and trial refuse; the files themselves are sound."""


_ENCRYPTION_KEY: Final = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
HAS_HPKE: Final = importlib.util.find_spec("cryptography.hazmat.primitives.hpke") is not None
"""Whether the installed library can wrap keys; with an old one all is published in the clear."""


def encryption_key_pem() -> bytes:
    """Give the device's encryption key, as its file has it."""
    return _ENCRYPTION_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Said:
    """One notice, and what comes with it.

    Attributes:
        trusted: what python-tuf makes of it; the error where it refuses (never, today).
        versions: of its signed metadata, in the order in which TUF checks them.
        expires_s: when the first of its short-lived signatures ends, seconds since 1970.
        messages: topics and bytes of the chunks and maps that it offers.
    """

    data: bytes
    trusted: Trusted
    versions: tuple[int, ...]
    expires_s: float
    messages: dict[str, bytes]


@dataclass(frozen=True)
class Catalog:
    """All that is published, and the device's configuration.

    Attributes:
        said: per model, notices in the order in which they were signed.
        releases: every signed release, by the digest of its bytes.
    """

    config: DeviceConfig
    said: dict[str, list[Said]]
    releases: dict[bytes, Release]

    @functools.cached_property
    def messages(self) -> dict[str, bytes]:
        """Every chunk and map that is ever published, by topic."""
        said = [one for of_model in self.said.values() for one in of_model]
        return {topic: data for one in said for topic, data in one.messages.items()}

    @property
    def image_max_bytes(self) -> int:
        """The largest image."""
        return max(release.image_size_bytes for release in self.releases.values())


class _Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = Settings(
            chunk_size_bytes=CHUNK_BYTES, brokers=(Broker(url="mqtt://127.0.0.1:1883"),)
        )
        # A second a signature: by the real clock two of them may be of one second, or not.
        day_s = time.time() // DAY_S * DAY_S
        clock = itertools.count(int(day_s))
        self.repo = Repository.init(folder / "repo", settings, now_s=lambda: float(next(clock)))

    def release(self, model: str, version: str, seed: int, trial: Trial, same_as: str = "") -> None:
        files: tuple[Path, ...] = ()
        if not same_as:
            source = self.folder / f"{model}-{version}"
            source.mkdir()
            (source / "model.onnx").write_bytes(
                zoo.classifier(seed=len(model), hidden=40, drift=0.02 * seed)
            )
            (source / "labels.txt").write_text("".join(f"label {i}\n" for i in range(60)))
            (source / f"notes-{model}.txt").write_bytes(_noise(seed, 6_000))
            files = (source,)
        self.repo.build_release(
            ReleaseRequest(
                model=model,
                version=version,
                files=files,
                same_as=same_as or None,
                seed=None if same_as else 1,
                trial=trial,
                is_probed=False,
                encrypt=HAS_HPKE and version in ENCRYPTED.get(model, frozenset()),
            )
        )

    def awaiting_delta(self, model: str) -> bytes:
        """Offer the same once more, as if its deltas were not made yet."""
        present = self.repo.present_offer(model)
        if present is None:
            raise AssertionError("expected an offer")
        offer = msgspec.structs.replace(
            present,
            attempt=present.attempt + 1,
            payloads=tuple(payload for payload in present.payloads if payload.base is None),
            delta_wait_s=DELTA_WAIT_S,
        )
        with self.repo.locked():
            return self.repo.sign(offer)

    def make_recipient(self, model: str) -> None:
        """Let the device read the model's encrypted releases."""
        device = Recipient(device=DEVICE, key=public_bytes(_ENCRYPTION_KEY))
        self.repo.change_recipients(model, lambda now: now.with_devices((device,)))

    def said(self, model: str, data: bytes, trust_dir: Path) -> Said:
        trusted = verify_notice(data, model, self.config.pinned_root, trust_dir)
        notice = decode(data, Notice)
        messages: dict[str, bytes] = {}
        folder = self.repo.offered_folder(model)
        for record in folder.payloads():
            items = chunk_items(self.repo.topics, folder, record.payload, None)
            items += map_items(self.repo.topics, folder, record.payload, None)
            messages |= {item.topic: item.read() for item in items}
        roles = ("timestamp", "snapshot", f"release-{model}", "offers")
        return Said(
            data=data,
            trusted=trusted,
            versions=tuple(self.repo.roles.of(model).version(role) for role in roles),
            expires_s=_first_expiry(notice),
            messages=messages,
        )

    @functools.cached_property
    def config(self) -> DeviceConfig:
        out = self.folder / "device"
        provision(self.repo, DEVICE, out, models=MODELS)
        config = DeviceConfig(out / "device.toml")
        config.state_dir = Path("/sim/state")  # on the simulation's disk: the same in each process
        return config


def _noise(seed: int, size_bytes: int) -> bytes:
    import random

    return random.Random(seed).randbytes(size_bytes)


def _first_expiry(notice: Notice) -> float:
    import json

    found = [
        json.loads(data)["signed"]["expires"]
        for name, data in notice.metadata.items()
        if "root" not in name
    ]
    return min(datetime.fromisoformat(text).timestamp() for text in found)


@functools.cache
def catalog() -> Catalog:
    """Make everything once; takes some seconds, for every model is really loaded."""
    folder = Path(tempfile.mkdtemp(prefix="slotcast-simulation-"))
    try:
        return _make(_Maker(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(maker: _Maker) -> Catalog:
    _ = maker.config  # provisioned before the first release: the root never changes
    said: dict[str, list[Said]] = {}
    trials = {"1": 0.0, "2": 30.0, UNFIT_IN_PROBE: 0.0, UNFIT_ON_TRIAL: 60.0, "6": 20.0}
    for model in MODELS:
        trust_dir = maker.folder / "trust" / model
        said[model] = []

        def add(data: bytes, model: str = model, trust_dir: Path = trust_dir) -> None:
            said[model].append(maker.said(model, data, trust_dir))

        def release(version: str, same_as: str = "", model: str = model) -> None:
            trial = Trial(duration_s=trials[version], max_restarts=2)
            maker.release(model, version, int(version), trial, same_as)

        if model in ENCRYPTED:
            maker.make_recipient(model)
        trials["5"] = 10.0
        offer = maker.repo.offer
        release("1")
        add(offer(model, "1"))
        release("2")
        add(offer(model, "2"))
        add(maker.awaiting_delta(model))
        add(offer(model, "2", OfferWanted(state="paused")))
        add(offer(model, "2", OfferWanted(again=True)))
        release(UNFIT_IN_PROBE)
        add(offer(model, UNFIT_IN_PROBE))
        add(maker.repo.withdraw(model))
        release(UNFIT_ON_TRIAL)
        add(offer(model, UNFIT_ON_TRIAL))
        release("5", same_as="2")
        add(offer(model, "5"))
        release("6")
        add(offer(model, "6"))
        add(maker.awaiting_delta(model))
    releases = {
        s.trusted.release_sha256: s.trusted.release for list_ in said.values() for s in list_
    }
    return Catalog(maker.config, said, releases)


def refused(said: Said, seen: tuple[int, ...], wall_s: float) -> RefusedRelease | None:
    """Say what TUF would, of the two things that change between runs: versions seen, and time.

    The rest (signatures, hashes, delegations) is what `verify_notice` found when the notice was
    made; it does not depend on the device.
    """
    from slotcast_schemas.errors import Expired, Replayed

    if any(have < had for have, had in zip(said.versions, seen, strict=False)):
        return Replayed(f"expected versions of at least {seen}, got {said.versions}")
    if wall_s > said.expires_s:
        return Expired("a signature is past its date by this device's clock")
    return None
