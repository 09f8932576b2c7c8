"""The files a Mosquitto of the tests starts from: those of mosquitto/, moved to where it runs.

Only addresses, ports and paths are changed, and each change must find what it changes:
what is tested is the configuration that is shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tests.support.certificates import Certificates
from tests.support.engine import REPOSITORY

Flavour = Literal["development", "production"]

PORTS: Final[Mapping[Flavour, tuple[int, ...]]] = {
    "development": (1883,),
    "production": (8883, 8884),
}
"""The ports that each configuration listens on: devices first, publishers last."""

DATA: Final = "data"
_HOME: Final = "/mosquitto"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Mosquitto runs: its home folder, and the address and port of each listener."""

    home: str
    address: str | None
    ports: tuple[int, ...]


def container_place(flavour: Flavour) -> Place:
    """Give the place inside a container: the shipped paths and ports, on all its addresses."""
    return Place(_HOME, None, PORTS[flavour])


_OF_LISTENER: Final = ("max_qos ", "use_username_as_clientid ")


def files(
    flavour: Flavour,
    place: Place,
    *,
    is_persistent: bool,
    extra: Sequence[str],
    certificates: Certificates | None,
) -> dict[str, bytes]:
    """Give each file's bytes by its path below `place.home`.

    Args:
        flavour: which configuration of mosquitto/.
        place: where it will run.
        is_persistent: whether retained messages survive a restart.
        extra: more lines of configuration, instead of those shipped with the same key, and before
            the listeners but for the keys that belong to one; below /mosquitto as shipped.
        certificates: for the production flavour.
    """
    text = (REPOSITORY / "mosquitto" / f"{flavour}.conf").read_text()
    text = _with_persistence(text, place, is_persistent=is_persistent)
    for shipped, port in zip(PORTS[flavour], place.ports, strict=True):
        text = _with_listener(text, shipped, port, place.address)
    keys = {line.split()[0] for line in extra if line.split()}
    text = "\n".join(line for line in text.splitlines() if line.split(" ")[0] not in keys)
    before = [line for line in extra if not line.startswith(_OF_LISTENER)]
    after = [line for line in extra if line.startswith(_OF_LISTENER)]
    text = "\n".join([*before, text, *after, ""]).replace(f" {_HOME}/", f" {place.home}/")
    made = {"config/mosquitto.conf": text.encode()}
    if certificates is not None:
        for name in ("acl", "acl.publishers"):
            made[f"config/{name}"] = (REPOSITORY / "mosquitto" / name).read_bytes()
        made |= _certificate_files(certificates)
    return made


def _with_persistence(text: str, place: Place, *, is_persistent: bool) -> str:
    words = {True: "true", False: "false"}
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("persistence "))
    lines[at] = f"persistence {words[is_persistent]}"
    if is_persistent and not any(line.startswith("persistence_location") for line in lines):
        lines.insert(at + 1, f"persistence_location {place.home}/{DATA}/")
    return "\n".join(lines) + "\n"


def _with_listener(text: str, shipped: int, port: int, address: str | None) -> str:
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.split()[:2] == ["listener", str(shipped)])
    lines[at] = f"listener {port}" + (f" {address}" if address else "")
    return "\n".join(lines) + "\n"


def _certificate_files(certificates: Certificates) -> dict[str, bytes]:
    return {
        "certs/server.crt": certificates.server.certificate.read_bytes(),
        "certs/server.key": certificates.server.key.read_bytes(),
        "certs/devices-ca.crt": certificates.devices_ca.certificate.read_bytes(),
        "certs/publishers-ca.crt": certificates.publishers_ca.certificate.read_bytes(),
    }
