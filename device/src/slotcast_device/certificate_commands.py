"""`slotcast-device certificate`: ask for one by hand, and install what came."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from slotcast_device.exit_codes import OK
from slotcast_device.storage import x509_files
from slotcast_device.storage.client_certificates import FILE_MAX_BYTES, ClientCertificates
from slotcast_device.storage.disk import storage_errors
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.state_modes import make_closed
from slotcast_schemas.named_files import read_named

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from slotcast_device.config import DeviceConfig

_AGENT_TAKES_S: Final = 10
"""The seconds within which a running agent uses a new certificate, as people are told."""


def write_request(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Write a PKCS#10 request by the key that `device.toml` names for a broker."""
    pem = ClientCertificates(config, OsDisk()).request_by_hand()
    if options.out is None:
        sys.stdout.write(pem.decode())
        return OK
    OsDisk().write_atomic(options.out.absolute(), pem)
    sys.stdout.write(
        f"{options.out}: the request of {config.values.device}; at the publisher:"
        " slotcast certificates sign REPO FILE\n"
    )
    return OK


def install(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Keep a certificate as the one to be shown next; a running agent takes it at once.

    Raises:
        UsageError: it is of another device or key, not for clients, or has ended.
        StorageFailed: it cannot be written.
    """
    data = _read(options.file)
    with storage_errors(f"make {config.state_dir}"):
        make_closed(config.state_dir)
    certificates = ClientCertificates(config, OsDisk())
    new = certificates.install(data, str(options.file), time.time())
    end = datetime.fromtimestamp(new.ends_s, UTC)
    sys.stdout.write(
        f"{config.values.device}: serial {new.serial}, until {end:%Y-%m-%d %H:%M} UTC; a running"
        f" agent connects anew with it within {_AGENT_TAKES_S} seconds, and goes back to what it"
        " had if the broker refuses it\n"
    )
    return OK


def _read(path: Path) -> bytes:
    data = read_named(path, FILE_MAX_BYTES)
    x509_files.to_pem(data, str(path))
    return data
