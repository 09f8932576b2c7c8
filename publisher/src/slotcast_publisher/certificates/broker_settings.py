"""Mosquitto's configuration for these certificates: mosquitto/production.conf, at its place.

The three files in `mosquitto/` here are those of the folder of that name in the sources; a test
holds them alike. Only paths, ports and the topic prefix are changed, and the lists of revoked
certificates are switched on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slotcast_schemas.topics import DEFAULT_PREFIX

DEVICES_PORT: Final = 8883
"""Where devices connect."""

PUBLISHERS_PORT: Final = 8884
"""Where publishers connect: not to be reached from outside."""

ACCESS_FILES: Final = ("acl", "acl.publishers")
"""Who may read and write what, at each listener. Mosquitto warns where others may read them."""

CONFIGURATION: Final = "mosquitto.conf"
"""The name of the configuration's file."""

_SHIPPED: Final = Path(__file__).parent / "mosquitto"


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where a broker runs.

    Attributes:
        files: the folder of the configuration, the access files and the certificates.
        data: the folder where it keeps what is retained.
        devices_port, publishers_port: where it listens.
        devices_address, publishers_address: of which address; every one where it is empty.
        user: as whom it runs where it is started by root; None for Mosquitto's usual one.
    """

    files: Path
    data: Path
    devices_port: int = DEVICES_PORT
    publishers_port: int = PUBLISHERS_PORT
    devices_address: str = ""
    publishers_address: str = "127.0.0.1"
    user: str | None = None


def broker_settings(place: BrokerPlace, prefix: str) -> Mapping[str, bytes]:
    """Give the configuration and the access files by their names.

    Args:
        place: where the broker runs.
        prefix: what topics begin with.
    """
    text = (_SHIPPED / "production.conf").read_text()
    devices = f"{place.devices_port} {place.devices_address}".strip()
    publishers = f"{place.publishers_port} {place.publishers_address}".strip()
    changes = {
        "/mosquitto/certs/": f"{place.files}/",
        "/mosquitto/config/": f"{place.files}/",
        "/mosquitto/data/": f"{place.data}/",
        f"listener {DEVICES_PORT}\n": f"listener {devices}\n",
        f"listener {PUBLISHERS_PORT}\n": f"listener {publishers}\n",
        "# crlfile ": "crlfile ",
    }
    for shipped, there in changes.items():
        text = text.replace(shipped, there)
    if place.user is not None:
        text = f"user {place.user}\n{text}"
    made = {CONFIGURATION: text.encode()}
    for name in ACCESS_FILES:
        rules = (_SHIPPED / name).read_text().replace(f" {DEFAULT_PREFIX}/", f" {prefix}/")
        made[name] = rules.encode()
    return made
