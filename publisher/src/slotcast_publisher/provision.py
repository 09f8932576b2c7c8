"""Writes what a device needs to trust this repository and to find its brokers.

`OUT/device.toml`, `OUT/root.json` (the newest root, pinned), and for brokers with TLS the
broker's CA and a client certificate whose common name is the device id, signed by the
repository's own device CA. The publisher's broker credentials are never handed out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.authorities import write_key
from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.durable import storage_errors, write_atomic
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, to_toml
from slotcast_publisher.store import check_model_name
from slotcast_schemas import fields, limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.plain_files import read_regular

CERTIFICATE_DAYS: Final = 1095
"""The days that a device's certificate counts: three years."""

_MODELS_NAMED_MAX: Final = 8
"""The most models that a warning names."""
_DEVICE: Final = re.compile(fields.DEVICE_PATTERN)


class Provisioned(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        warnings: what may be a mistake, a sentence each.
    """

    device: str
    folder: Path
    config: Path
    root_version: int
    brokers: tuple[str, ...]
    certificate: Path | None
    warnings: tuple[str, ...] = ()


def provision(
    repo: Repository,
    device: str,
    out: Path,
    *,
    models: Sequence[str],
    brokers: Sequence[str] = (),
    state_dir: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> Provisioned:
    """Write a device's configuration, pinned root and, with TLS, its certificate.

    Args:
        repo: the repository.
        device: the device's id.
        out: the folder to write into.
        models: the models that the device runs.
        brokers: URLs for the device to try in order; those of the settings unless given.
        state_dir: where the device keeps its state; beside its configuration unless given.
        tags: what groups of an offer may ask for, by name.

    Raises:
        UsageError: a device id, a model, a tag or a broker that cannot be, or `out` is a link.
        StorageFailed: `out` cannot be written.
    """
    _check_arguments(device, models, tags or {})
    chosen = _brokers(repo, brokers)
    if out.is_symlink():
        raise UsageError(
            f"{out} is a link to {out.readlink()}: a device's key is not written through links;"
            " give the folder itself"
        )
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    certificate = None
    if any(broker.address.is_tls for broker in chosen):
        certificate = _write_certificate(repo, device, out)
    root = repo.roles.root_bytes()
    write_atomic(out / "root.json", root)
    config: dict[str, Any] = {
        "format": 1,
        "device": device,
        # As given: a relative one counts from the file, wherever on the device that is copied to.
        "state_dir": "state" if state_dir is None else str(state_dir),
        "root": "root.json",
        "models": list(models),
        "prefix": repo.settings.prefix,
        "tags": dict(tags or {}),
        "brokers": [_broker_entry(repo, broker, out) for broker in chosen],
        "policy": {"full_allowed": True},
    }
    write_atomic(out / "device.toml", to_toml(config).encode(), mode=0o600)
    return Provisioned(
        device=device,
        folder=out,
        config=out / "device.toml",
        root_version=repo.roles.root().signed.version,
        brokers=tuple(broker.address.name for broker in chosen),
        certificate=certificate,
        warnings=tuple(_unknown_models(models, repo.store.models())),
    )


def _unknown_models(models: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """Name the models that have no release; where none has one yet, devices come before them."""
    from difflib import get_close_matches  # only who misspells a model needs it

    for model in models if known else ():
        if model not in known:
            near = get_close_matches(model, known, n=1)
            some = ", ".join(known[:_MODELS_NAMED_MAX]) + (" …" * (len(known) > _MODELS_NAMED_MAX))
            hint = f"did you mean {near[0]!r}?" if near else f"there are some of {some}"
            yield f"no release of {model!r} is here; {hint}"


def _check_arguments(device: str, models: Sequence[str], tags: Mapping[str, str]) -> None:
    if not _DEVICE.match(device):
        raise UsageError(
            f"device id: expected {fields.ALLOWED[fields.DEVICE_PATTERN]}, got {device!r:.80}"
        )
    if not 1 <= len(models) <= limits.MODELS_PER_DEVICE_MAX:
        raise UsageError(
            f"expected 1 to {limits.MODELS_PER_DEVICE_MAX} models, got {len(models)}: give --model"
        )
    for model in models:
        check_model_name(model)
    convert(dict(tags), fields.Tags, "--tag")


def _brokers(repo: Repository, urls: Sequence[str]) -> list[Broker]:
    """Give the brokers for a device; the publisher's names and passwords stay here."""
    known = {broker.address.name: broker for broker in repo.settings.brokers}
    if not urls:
        if not known:
            raise UsageError("no broker: give --broker URL, or set one in slotcast.toml")
        return [
            msgspec.structs.replace(broker, url=broker.address.without_credentials())
            for broker in repo.settings.brokers
        ]
    return [
        msgspec.structs.replace(known.get(given.address.name, _nearest(repo, given)), url=given.url)
        for given in (Broker(url=url) for url in urls)
    ]


def _nearest(repo: Repository, given: Broker) -> Broker:
    """A host may serve devices on another port: its CA is the same."""
    same = (b for b in repo.settings.brokers if b.address.host == given.address.host)
    return next(same, given)


def _broker_entry(repo: Repository, broker: Broker, out: Path) -> dict[str, str]:
    entry = {"url": broker.url, "protocol": broker.protocol}
    if not broker.address.is_tls:
        return entry
    if broker.ca:
        source = repo.path / broker.ca
        with storage_errors(out / "ca.pem"):
            try:
                write_atomic(out / "ca.pem", read_regular(source))
            except FileNotFoundError as exc:
                raise UsageError(f"the broker's ca is not at {source}") from exc
        entry["ca"] = "ca.pem"
    return {**entry, "certificate": "device.pem", "key": "device.key"}


# --- certificates -----------------------------------------------------------------------------


def _write_certificate(repo: Repository, device: str, out: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    desk = open_desk(repo.path, repo.ring)
    certificate = desk.issue_device(
        device, key.public_key(), days=CERTIFICATE_DAYS, how="provision"
    )
    write_key(out / "device.key", key)
    write_atomic(out / "device.pem", certificate.public_bytes(Encoding.PEM))
    return out / "device.pem"
