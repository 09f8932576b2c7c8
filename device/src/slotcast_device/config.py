"""`device.toml`: who this device is, whom it trusts, where its brokers are.

Written by `slotcast provision`; every key is documented in docs/device.md. Paths in it are
relative to the file. A key that is not known is an error: a mistyped one must not pass silently.
"""

from __future__ import annotations

import functools
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from slotcast_device.runtime.users import closed_at, short_name
from slotcast_schemas import limits
from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.broker import BrokerAddress
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.fields import FILE_NAME_PATTERN, DeviceId, ModelName, Tags
from slotcast_schemas.plain_files import open_regular, read_regular
from slotcast_schemas.redact import hide_passwords
from slotcast_schemas.topics import DEFAULT_PREFIX, Topics

CONFIG_MAX_BYTES = 256 * 1024
"""The most bytes of a configuration file; a larger one is no configuration."""


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker address; several are tried in order, again and again.

    Attributes:
        retained: whether it takes retained messages. One of MQTT 5 says so itself.
    """

    url: Annotated[str, Meta(min_length=8, max_length=512)]
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    retained: bool = True

    @property
    def address(self) -> BrokerAddress:
        """The address, taken apart.

        Raises:
            UsageError: not an mqtt:// or mqtts:// address with a host.
        """
        return BrokerAddress.parse(self.url)

    @property
    def host(self) -> str:
        """Host name or address."""
        return self.address.host

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.address.is_tls

    @property
    def port(self) -> int:
        """Port; 1883, or 8883 with TLS, if not given."""
        return self.address.port

    @property
    def username(self) -> str | None:
        """User name, if the address has one."""
        return self.address.username

    @property
    def password(self) -> str | None:
        """Password, if the address has one."""
        return self.address.password

    @property
    def name(self) -> str:
        """How logs call this broker: never with a password."""
        return self.address.name

    def __repr__(self) -> str:
        return f"BrokerConfig({hide_passwords(repr(self.url))})"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device's owner allows.

    Attributes:
        full_allowed: whether a whole image may be fetched where no delta fits.
        full_bytes_per_day: of whole images at most, of each model; 0 is no bound. Deltas are free,
            unless they came to nothing.
        metered_file: while this file exists the link costs money, and only deltas are fetched.
        image_max_bytes: larger releases are refused.
        credit_max_chunks: chunks that may be under way at once; less on links shared with others.
        slow_bytes_per_s: a transfer that verifies less is reported as `slow`; 0 is never.
        model_threads: threads that applications give a session, and so the probe; 0 is what the
            runtime takes by itself, one for each core.
        keep_provisioned: whether the first release that was committed is kept beside the slots,
            where there is room, so that the device can be set back to it.
    """

    full_allowed: bool = True
    full_bytes_per_day: Annotated[int, Meta(ge=0, le=limits.IMAGE_MAX_BYTES)] = 0
    metered_file: str | None = None
    image_max_bytes: Annotated[int, Meta(ge=1, le=limits.IMAGE_MAX_BYTES)] = limits.IMAGE_MAX_BYTES
    credit_max_chunks: Annotated[int, Meta(ge=1, le=1024)] = 128
    slow_bytes_per_s: Annotated[float, Meta(ge=0, le=1e9)] = 1000.0
    model_threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    keep_provisioned: bool = True


class UpdateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner is asked before an update; see `slotcast_device.owner.owner`.

    Attributes:
        windows: when updates may begin and switch, such as `Sat,Sun 02:00-04:00`.
        hooks: folder of executables named for the stages.
        consent: file with the version that the user agrees to.
    """

    windows: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    hooks: str | None = None
    hook_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    consent: str | None = None


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often figures are summed up and sent, and where scrapers find them.

    Attributes:
        openmetrics: file in the state directory, in OpenMetrics text; None for none.
    """

    interval_s: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    openmetrics: Annotated[str, Meta(pattern=FILE_NAME_PATTERN)] | None = "metrics.prom"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged to standard error, and how; options of the command win over it."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Waits, in seconds.

    Attributes:
        slow_window_s: what `policy.slow_bytes_per_s` is measured over.
        notices_again_s: after which a lasting connection is asked for the notices once more.
    """

    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    connect_timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    reconnect_first_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    reconnect_cap_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    slow_window_s: Annotated[float, Meta(ge=1, le=86400)] = 120.0
    notices_again_s: Annotated[float, Meta(ge=1, le=7 * 86400)] = 6 * 3600.0


class FormatConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models of one format are run here: by a command of the device's owner.

    Attributes:
        command: the program and its arguments; a program with a `/` in it is looked for from this
            file's folder, another one on the PATH. What it is told and answers: docs/formats.md.
    """

    command: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...],
        Meta(min_length=1, max_length=64),
    ]


class TokenConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where this device's own key is, if in a TPM or another token and not in a file.

    Attributes:
        uri: which key in which token, such as `hsm:2?label=camera` (docs/trust.md).
        module: the PKCS#11 library of the token, an absolute path.
        public_key: the key's public part, a PEM file.
        pin_file: a file with the PIN.
    """

    uri: Annotated[str, Meta(pattern=r"^hsm:[0-9]+(\?label=[^?#]+)?\Z", max_length=256)]
    module: Annotated[str, Meta(min_length=2, max_length=4096, pattern="^/")]
    public_key: Annotated[str, Meta(min_length=1, max_length=4096)]
    pin_file: Annotated[str, Meta(min_length=1, max_length=4096)]


class UnwrapConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The RSA key in a TPM or another token that unwraps the slots' key.

    Attributes:
        uri: which key in which token, such as `hsm:2?label=camera` (docs/encryption.md).
        module: the PKCS#11 library of the token, an absolute path.
        pin_file: a file with the PIN.
    """

    uri: Annotated[str, Meta(pattern=r"^hsm:[0-9]+(\?label=[^?#]+)?\Z", max_length=256)]
    module: Annotated[str, Meta(min_length=2, max_length=4096, pattern="^/")]
    pin_file: Annotated[str, Meta(min_length=1, max_length=4096)]


class AtRestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That slots are encrypted on the disk, and where their key is (docs/encryption.md).

    Attributes:
        key_file: with the key, 32 bytes; with a token, what that unwraps.
        token: unwraps the key; without it the file has the key itself.
        encrypt: false has new slots in the clear again; encrypted ones can still be read.
    """

    key_file: Annotated[str, Meta(min_length=1, max_length=4096)]
    token: UnwrapConfig | None = None
    encrypt: bool = True


FormatName = Annotated[str, Meta(pattern=r"^(litert|gguf|opaque(_[a-z0-9_]{1,57})?)\Z")]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `device.toml`."""

    format: Literal[1]
    device: DeviceId
    state_dir: str = "state"
    root: str = "root.json"
    models: Annotated[
        tuple[ModelName, ...], Meta(min_length=1, max_length=limits.MODELS_PER_DEVICE_MAX)
    ]
    prefix: str = DEFAULT_PREFIX
    tags: Tags = {}
    brokers: Annotated[tuple[BrokerConfig, ...], Meta(min_length=1, max_length=16)]
    policy: Policy = Policy()
    update: UpdateConfig = UpdateConfig()
    metrics: MetricsConfig = MetricsConfig()
    timing: Timing = Timing()
    log: LogConfig = LogConfig()
    formats: Annotated[dict[FormatName, FormatConfig], Meta(max_length=64)] = {}
    identity: TokenConfig | None = None
    at_rest: AtRestConfig | None = None


make_decoders(Config)


class DeviceConfig:
    """The configuration with its paths resolved and its pinned root read.

    Raises:
        UsageError: the file, or one that it names, is missing or wrong; the message says how.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values = _read(path)
        folder = path.resolve().parent
        self.folder = folder
        self.state_dir = folder / self.values.state_dir
        self.topics = Topics(self.values.prefix)
        if self.encrypts_slots and self.values.formats:
            named = next(iter(self.values.formats))
            raise UsageError(
                f"configuration {path}: expected either at_rest or formats.{named}: a command reads"
                " its model by a path, where an encrypted slot has none for it; take one of both"
                " away"
            )
        for number, broker in enumerate(self.values.brokers):
            BrokerAddress.parse(broker.url, f"configuration {path}: brokers[{number}].url")
        try:
            self.pinned_root = read_regular(folder / self.values.root)
        except PermissionError as exc:
            raise _unreadable_error(path, folder / self.values.root) from exc
        except OSError as exc:
            raise UsageError(
                f"{path}: the pinned root {folder / self.values.root} cannot be read"
                f" ({exc.strerror}); provision this device again"
            ) from exc

    @functools.cached_property
    def root_expires_s(self) -> float | None:
        """When the pinned root ends, in seconds since 1970; None where that cannot be read."""
        try:
            text = json.loads(self.pinned_root)["signed"]["expires"]
            return datetime.fromisoformat(text).timestamp()
        except (*UNDECODABLE, KeyError, TypeError, OverflowError):
            return None

    @property
    def encrypts_slots(self) -> bool:
        """Whether what is installed from now on lies on the disk encrypted."""
        return self.values.at_rest is not None and self.values.at_rest.encrypt

    def model_dir(self, model: str) -> Path:
        """Give the folder of a model's state."""
        return self.state_dir / "models" / model

    def trust_dir(self, model: str) -> Path:
        """Give the folder in which TUF's client keeps what it has seen of a model."""
        return self.model_dir(model) / "trust"

    def closed_to_models(self) -> tuple[str, ...]:
        """Give what no model may read while it is tried, but for its slot: state and secrets."""
        keys = [self.folder / broker.key for broker in self.values.brokers if broker.key]
        if self.values.identity is not None:
            keys.append(self.folder / self.values.identity.pin_file)
        at_rest = self.values.at_rest
        if at_rest is not None:
            keys.append(self.folder / at_rest.key_file)
            if at_rest.token is not None:
                keys.append(self.folder / at_rest.token.pin_file)
        return tuple(str(path.absolute()) for path in (self.state_dir, self.path, *keys))

    def format_commands(self) -> dict[str, tuple[str, ...]]:
        """Give the owner's command for each format, its program as an absolute path or a name."""
        return {
            name: (str(self.folder / program) if "/" in program else program, *arguments)
            for name, each in self.values.formats.items()
            for program, *arguments in [each.command]
        }

    def resolve(self, name: str | None) -> str | None:
        """Give a path of the configuration as an absolute one."""
        return None if name is None else str(self.folder / name)


def _read(path: Path) -> Config:
    try:
        with open_regular(path) as file:
            data = file.read(CONFIG_MAX_BYTES + 1)
    except PermissionError as exc:
        raise _unreadable_error(path, path) from exc
    except OSError as exc:
        raise UsageError(
            f"configuration {path}: {exc.strerror}; give the file that `slotcast provision` wrote:"
            " --config FOLDER/device.toml"
        ) from exc
    if len(data) > CONFIG_MAX_BYTES:
        raise UsageError(f"configuration {path}: expected at most {CONFIG_MAX_BYTES} bytes")
    try:
        given = read_toml(data.decode())
    except UNDECODABLE as exc:
        raise UsageError(f"configuration {path} is not TOML: {exc}") from exc
    return convert(given, Config, f"configuration {path}")


def _unreadable_error(config: Path, path: Path) -> UsageError:
    me, where = short_name(os.geteuid()), closed_at(path)
    return UsageError(
        f"configuration {config}: {path} may not be read by {me}, as whom this runs; run this as"
        f" the agent's user, or make that user the owner of what is closed: chown {me} {where}"
    )
