"""`REPO/slotcast.toml`: brokers, topic prefix, chunk size, and how long signatures live.

Read and validated once, here. People edit this file; `slotcast init` writes the first one.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import NotFound
from slotcast_schemas import limits
from slotcast_schemas.broker import BrokerAddress
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.redact import hide_passwords
from slotcast_schemas.topics import DEFAULT_PREFIX, Topics

FILE_NAME: Final = "slotcast.toml"
Protocol = Literal["auto", "5", "3.1.1"]


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker address; paths are relative to the repository."""

    url: str
    protocol: Protocol = "auto"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def address(self) -> BrokerAddress:
        """The address, taken apart.

        Raises:
            UsageError: not `mqtt://` or `mqtts://` with a host.
        """
        return BrokerAddress.parse(self.url)

    def __repr__(self) -> str:
        return f"Broker({hide_passwords(repr(self.url))})"


class Expiry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each role's signature counts, in days.

    The online roles live for two months because nobody is bound to run a service that renews
    them; with one, set `timestamp_days` to a day or two.
    """

    root_days: Annotated[float, Meta(gt=0)] = 3650
    targets_days: Annotated[float, Meta(gt=0)] = 1825
    release_days: Annotated[float, Meta(gt=0)] = 1825
    offers_days: Annotated[float, Meta(gt=0)] = 60
    snapshot_days: Annotated[float, Meta(gt=0)] = 60
    timestamp_days: Annotated[float, Meta(gt=0)] = 60


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `slotcast.toml` says."""

    format: Literal[1] = 1
    prefix: str = DEFAULT_PREFIX
    chunk_size_bytes: Annotated[int, Meta(ge=limits.CHUNK_MIN_BYTES, le=limits.CHUNK_MAX_BYTES)] = (
        limits.CHUNK_DEFAULT_BYTES
    )
    brokers: tuple[Broker, ...] = ()
    expiry: Expiry = Expiry()

    @property
    def topics(self) -> Topics:
        """The topics below the prefix."""
        return Topics(self.prefix)


make_decoders(Settings)


def load(repo: Path) -> Settings:
    """Read a repository's settings.

    Raises:
        NotFound: there is no repository here.
        UsageError: the file is not right; names the field.
    """
    path = repo / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise NotFound(f"no repository at {repo}: run `slotcast init {repo}` first") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"could not read {path}: {exc}") from exc
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{path} is not TOML: {exc}") from exc
    settings = convert(given, Settings, str(path))
    _check(settings, f"{path}: ")
    return settings


def save(repo: Path, settings: Settings) -> None:
    """Write a repository's settings; readable by its owner only, for URLs may hold passwords.

    Raises:
        UsageError: a prefix or a broker URL that cannot be used.
        StorageFailed: it could not be written.
    """
    _check(settings)
    fields = msgspec.to_builtins(settings)
    write_atomic(repo / FILE_NAME, to_toml(fields).encode(), mode=0o600)


def _check(settings: Settings, where: str = "") -> None:
    Topics(settings.prefix)
    for number, broker in enumerate(settings.brokers):
        BrokerAddress.parse(broker.url, f"{where}brokers[{number}].url")


def to_toml(fields: dict[str, Any]) -> str:
    """Write plain values, then tables, then arrays of tables; nothing deeper is needed here."""
    lines = [f"{key} = {_value(value)}" for key, value in fields.items() if _is_plain(value)]
    for key, value in fields.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *_pairs(value)]
        elif not _is_plain(value):
            for item in value or ():
                lines += ["", f"[[{key}]]", *_pairs(item)]
    return "\n".join(lines) + "\n"


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(item)}" for key, item in table.items() if item is not None]


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and not isinstance(value[0], dict)
    return value is not None and not isinstance(value, dict)


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):  # JSON writes DEL as it is, which TOML forbids
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)
