"""Any bytes are answered as a renewal within its bounds or not at all, and kept or refused."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
from pathlib import Path

from slotcast_device.storage.client_certificates import ClientCertificates
from slotcast_schemas.errors import UsageError
from slotcast_schemas.limits import CERTIFICATE_MAX_BYTES
from tests.support.renewing import LATER, RenewingDesk, client_certificates


@functools.cache
def _both() -> tuple[RenewingDesk, ClientCertificates]:
    folder = Path(tempfile.mkdtemp(prefix="slotcast-fuzz-renewal-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    desk = RenewingDesk(folder / "repo")
    return desk, client_certificates(folder / "device", desk.key, desk.held)


def seeds() -> list[bytes]:
    """Give a renewal, a request and a certificate, each behind the number of what it is."""
    desk, _ = _both()
    return [b"\0" + desk.asked(), b"\1" + desk.request, b"\2" + desk.held, b"\3" + desk.held]


def one_input(data: bytes) -> None:
    """Answer it as `serve` does, or keep it as a device does; the first byte says what it is."""
    desk, kept = _both()
    body = data[1 : 1 + CERTIFICATE_MAX_BYTES]
    match data[0] % 4 if body else None:
        case 0:
            desk.answer(data[1:])
        case 1:
            desk.answer(desk.asked(request=body))
        case 2:
            desk.answer(desk.asked(held=body))
        case 3:
            with contextlib.suppress(UsageError):
                kept.install(body, "it", LATER.timestamp())
