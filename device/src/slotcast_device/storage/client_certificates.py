"""The certificates by which this device is let in at its brokers, on disk.

`device.toml` names a certificate and its key for each broker; that file is its owner's, and stays
as it is. A certificate that came later for the same key lies in `STATE_DIR/certificates`, in
`<key>.new.pem` until a broker took it and in `<key>.pem` from then on; `<key>` is the beginning of
the SHA-256 of the public key. So a device with a new key looks at nothing that was of the old one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from slotcast_device.core.certificate_choice import CertificateChoice, HeldCertificate
from slotcast_device.storage.disk import storage_errors
from slotcast_schemas.errors import StorageFailed, UsageError
from slotcast_schemas.plain_files import open_regular

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.storage.disk import Disk

_LOG: Final = logging.getLogger("slotcast.device")

FOLDER: Final = "certificates"
"""Where in the state directory later certificates lie."""
FILE_MAX_BYTES: Final = 64 * 1024
"""The most bytes of a certificate's or a key's file: room for a chain."""
_KEY_ID_CHARS: Final = 16
"""The characters of a key's id in the name of a certificate's file."""


class _Pair(msgspec.Struct, frozen=True):
    """What `device.toml` names for a broker, as it is now.

    Attributes:
        key_id: of the private key.
        certificate_path: as named; there may be nothing yet.
    """

    key_id: str
    key: Any
    key_path: Path
    certificate_path: Path


class ClientCertificates:
    """Chooses certificates for connections, and keeps new ones.

    Args:
        config: brokers, and where the state is.
        disk: where certificates are kept.
    """

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._config = config
        self._disk = disk
        self._folder = config.state_dir / FOLDER
        self._choice = CertificateChoice()
        self._shown: dict[str, HeldCertificate] = {}
        self.in_use: HeldCertificate | None = None
        """What the present broker took; None where it was shown none, or there is no broker."""

    # --- for connections ------------------------------------------------------------------------

    def chosen(self, broker: BrokerConfig, wall_s: float, mono_s: float) -> BrokerConfig:
        """Give a broker's configuration with the certificate to show it now.

        Args:
            broker: as `device.toml` has it.
            wall_s: the time of day, seconds since 1970.
            mono_s: the time, for waits.
        """
        self.in_use = None
        self._shown.pop(broker.name, None)
        if not broker.is_tls or broker.certificate is None:
            return broker
        try:
            pair = self._pair(broker)
            found = self._choice.choose(broker.name, self._held(pair), wall_s, mono_s)
        except (UsageError, StorageFailed) as exc:  # the connection says what is wrong with it
            _LOG.debug("certificates of %s: %s", broker.name, exc)
            return broker
        if found is None:
            return broker
        self._shown[broker.name] = found
        return msgspec.structs.replace(broker, certificate=found.path, key=str(pair.key_path))

    def refused(self, broker: BrokerConfig, mono_s: float) -> None:
        """A broker that was reached did not let this device in."""
        shown = self._shown.get(broker.name)
        if shown is not None:
            self._choice.refused(broker.name, shown, mono_s)

    def accepted(self, broker: BrokerConfig) -> None:
        """A broker let this device in: what it was shown is kept from now on."""
        shown = self._shown.get(broker.name)
        if shown is None:
            return
        self._choice.accepted(broker.name, shown)
        self.in_use = shown
        if shown.is_new:
            path = Path(shown.path)
            kept = path.with_name(path.name.removesuffix(".new.pem") + ".pem")
            try:
                self._disk.rename(path, kept)
                self._disk.sync_dir(self._folder)
            except StorageFailed as exc:
                _LOG.warning("%s: stays to be tried: %s", path, exc)
                return
            self.in_use = HeldCertificate(shown.serial, str(kept), shown.starts_s, shown.ends_s)
            self._shown[broker.name] = self.in_use

    def has_newer(self, broker: BrokerConfig, wall_s: float, mono_s: float) -> bool:
        """Say whether another certificate than the one in use should be shown to the broker now.

        Args:
            broker: as `device.toml` has it.
            wall_s: the time of day, seconds since 1970.
            mono_s: the time, for waits.
        """
        if self.in_use is None or not self._disk.names(self._folder):
            return False
        try:
            held = self._held(self._pair(broker))
        except (UsageError, StorageFailed):
            return False
        found = self._choice.choose(broker.name, held, wall_s, mono_s)
        return found is not None and found.is_new and found.serial != self.in_use.serial

    # --- for who brings one ---------------------------------------------------------------------

    def install(self, data: bytes, what: str, now_s: float) -> HeldCertificate:
        """Keep a certificate as the one to be shown next, if it can be of use.

        Args:
            data: in PEM, the device's own first; or in DER.
            what: what messages call it, such as the file's name.
            now_s: the time of day, seconds since 1970.

        Raises:
            UsageError: it is of another device or key, not for clients, or ends before the present
                one; nothing was changed.
            StorageFailed: it cannot be written.
        """
        from slotcast_device.storage import x509_files

        pem = x509_files.to_pem(data, what)
        certificate = x509_files.check_client(pem, self._config.values.device, what, now_s)
        pairs = [pair for broker in self._brokers() if (pair := self._readable_pair(broker))]
        key_id = x509_files.key_id(certificate.public_key())
        fitting = [pair for pair in pairs if pair.key_id == key_id]
        if not fitting:
            has = ", ".join(sorted({pair.key_id[:_KEY_ID_CHARS] for pair in pairs})) or "none"
            raise UsageError(
                f"{what}: expected a certificate of a key that device.toml names ({has}), got one"
                f" of {key_id[:_KEY_ID_CHARS]}"
            )
        x509_files.check_chain(pem, certificate, what)
        held = self._held(fitting[0])
        path = self._path(key_id, is_new=True)
        new = x509_files.held(certificate, path, is_new=True)
        if any(one.serial == new.serial and not one.is_new for one in held):
            raise UsageError(f"{what}: it is the one that this device has already")
        if any(not one.is_new and one.starts_s > new.starts_s for one in held):
            raise UsageError(f"{what}: it was made before the one that this device has")
        self._disk.make_dir(self._folder)
        self._disk.write_atomic(path, pem)
        return new

    def request(self, broker: BrokerConfig) -> tuple[bytes, bytes] | None:
        """Give what asks for the next certificate: a request, and the present one; both in DER.

        Raises:
            UsageError: the key cannot be used.
            StorageFailed: the certificate cannot be read.
        """
        from slotcast_device.storage import x509_files

        if self.in_use is None:
            return None
        pair = self._pair(broker)
        path = Path(self.in_use.path)
        is_ours = path.parent == self._folder
        pem = self._disk.read(path, FILE_MAX_BYTES) if is_ours else _read_configured(path)
        if pem is None:
            return None
        request = x509_files.make_request(pair.key, self._config.values.device)
        return request, x509_files.to_der(pem, self.in_use.path)

    def request_by_hand(self) -> bytes:
        """Give a PKCS#10 request by the first key that `device.toml` names, in PEM.

        Raises:
            UsageError: it names none that can be used.
            StorageFailed: it cannot be read.
        """
        from slotcast_device.storage import x509_files

        for broker in self._brokers():
            return x509_files.request_pem(self._pair(broker).key, self._config.values.device)
        raise UsageError(
            "expected a broker with mqtts://, certificate and key in device.toml, found none"
        )

    # --- files ----------------------------------------------------------------------------------

    def _brokers(self) -> list[BrokerConfig]:
        return [b for b in self._config.values.brokers if b.is_tls and b.certificate is not None]

    def _readable_pair(self, broker: BrokerConfig) -> _Pair | None:
        try:
            return self._pair(broker)
        except (UsageError, StorageFailed) as exc:
            _LOG.warning("%s: %s", broker.name, exc)
            return None

    def _pair(self, broker: BrokerConfig) -> _Pair:
        """Read the key that a broker's certificate is for.

        Raises:
            UsageError: there is none that can be used.
            StorageFailed: it cannot be read.
        """
        from slotcast_device.storage import x509_files

        certificate_path = self._config.folder / (broker.certificate or "")
        key_path = certificate_path if broker.key is None else self._config.folder / broker.key
        pem = _read_configured(key_path)
        if pem is None:
            raise UsageError(f"key: expected a file at {key_path}")
        key = x509_files.load_key(pem, str(key_path))
        return _Pair(x509_files.key_id(key.public_key()), key, key_path, certificate_path)

    def _held(self, pair: _Pair) -> list[HeldCertificate]:
        """Give the certificates of a key, the one to be shown first in front."""
        from slotcast_device.storage import x509_files

        paths = [
            (self._path(pair.key_id, is_new=True), True),
            (self._path(pair.key_id, is_new=False), False),
            (pair.certificate_path, False),
        ]
        found = []
        for path, is_new in paths:
            is_ours = path.parent == self._folder
            data = self._disk.read(path, FILE_MAX_BYTES) if is_ours else _read_configured(path)
            if data is None:
                continue
            one = x509_files.held_of(data, path, pair.key_id, is_new=is_new)
            if one is not None:
                found.append(one)
        # One that the owner put there later than ours came is the later one.
        return sorted(found, key=lambda one: (not one.is_new, -one.starts_s))

    def _path(self, key_id: str, *, is_new: bool) -> Path:
        return self._folder / f"{key_id[:_KEY_ID_CHARS]}{'.new' if is_new else ''}.pem"


def _read_configured(path: Path) -> bytes | None:
    """Read a file that `device.toml` names, which may be a link: secrets are mounted so.

    Raises:
        StorageFailed: it cannot be read.
    """
    with storage_errors(f"read {path}"):
        try:
            with open_regular(path) as file:
                return file.read(FILE_MAX_BYTES)
        except FileNotFoundError:
            return None
