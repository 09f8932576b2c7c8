"""Runs the broker in a container, on the files of `certificates/broker`.

The files are copied into the container, as those of its user, and not mounted: so the keys stay
closed to others, and an engine on another machine will do. What is retained is in a volume with the
container's name, which stays when the container is made anew.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slotcast_publisher.certificates.broker_settings import (
    CONFIGURATION,
    DEVICES_PORT,
    PUBLISHERS_PORT,
    BrokerPlace,
)
from slotcast_schemas.errors import UsageError

ENGINES: Final = ("docker", "podman")
"""The container engines that are looked for, in this order."""

IMAGE: Final = "eclipse-mosquitto:2"
"""The image, unless another is given."""

NAME: Final = "slotcast-broker"
"""The container's name, unless another is given."""

PLACE: Final = BrokerPlace(Path("/mosquitto/certs"), Path("/mosquitto/data"), publishers_address="")
"""Where things are inside."""

_USER: Final = 1883
"""The user and group `mosquitto` of the official image."""

_LABEL: Final = "org.slotcast.broker"
_LOG_LINES: Final = "15"
_RUNNING: Final = " running"
"""What Mosquitto logs once it listens."""
_RELOADS: Final = b"Reloading config."
"""What it logs before it reads its files again; nobody is let in or turned away in between."""

_TIMEOUT_S: Final = 600.0
"""The seconds that one command of the engine may take: the first has to fetch the image."""

_START_S: Final = 60.0
"""The seconds that Mosquitto may take to listen, and to hear a signal."""
_LOOK_S: Final = 0.1
"""The seconds between two looks at its log."""


@dataclass(frozen=True, slots=True)
class ContainerPorts:
    """Where the host listens for the broker; publishers on the loopback unless told otherwise."""

    devices: str = str(DEVICES_PORT)
    publishers: str = f"127.0.0.1:{PUBLISHERS_PORT}"


def find_engine() -> str | None:
    """Give a container engine that answers; None where there is none."""
    for engine in ENGINES:
        if shutil.which(engine) and _call(engine, "info", check=False).returncode == 0:
            return engine
    return None


class BrokerContainer:
    """A broker in a container.

    Args:
        engine: `docker` or `podman`.
        name: the container's.
    """

    def __init__(self, engine: str, name: str = NAME) -> None:
        self._engine = engine
        self.name = name

    def start(
        self, files: Mapping[str, bytes], image: str = IMAGE, ports: ContainerPorts | None = None
    ) -> None:
        """Make the container and start it, in place of one of ours with its name.

        Args:
            files: what the broker reads, by name, with a configuration for `PLACE`.
            image: of Mosquitto.
            ports: where the host listens.

        Raises:
            UsageError: another container has the name, or the engine or Mosquitto refuses.
        """
        chosen = ports or ContainerPorts()
        self._remove_ours()
        self._run(
            "create", "--name", self.name, "--label", f"{_LABEL}=1", "--restart", "unless-stopped",
            "--user", str(_USER), "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges",
            "--publish", f"{chosen.devices}:{DEVICES_PORT}",
            "--publish", f"{chosen.publishers}:{PUBLISHERS_PORT}",
            "--volume", f"{self.name}-data:{PLACE.data}",
            "--entrypoint", "/usr/sbin/mosquitto",
            image, "-c", str(PLACE.files / CONFIGURATION),
        )  # fmt: skip
        self._copy(files)
        self._run("start", self.name)
        self._wait_until_it_listens()

    def tell(self, files: Mapping[str, bytes]) -> None:
        """Give the running broker the files as they are now, and have it read them.

        Args:
            files: as `start` was given.

        Raises:
            UsageError: there is no container of ours with this name, the engine refuses, or the
                broker does not say that it reads them.
        """
        if not self._is_ours():
            raise UsageError(
                f"no container {self.name!r} that `slotcast certificates broker` made: expected the"
                " name of one"
            )
        self._copy(files)
        since = str(int(time.time()))
        seen = self._reloads(since)
        self._run("kill", "--signal", "HUP", self.name)
        deadline_s = time.monotonic() + _START_S
        while self._reloads(since) <= seen:  # the signal is under way when the engine has answered
            if time.monotonic() > deadline_s:
                raise UsageError(f"Mosquitto in {self.name} does not read its files on SIGHUP")
            time.sleep(_LOOK_S)

    def _reloads(self, since: str) -> int:
        """Count how often the broker has begun to read its files again, since a time in seconds."""
        log = self._run("logs", "--since", since, self.name)
        return (log.stdout + log.stderr).count(_RELOADS)

    def remove(self) -> None:
        """End the container, and remove it; what is retained stays in its volume."""
        self._remove_ours()

    def _copy(self, files: Mapping[str, bytes]) -> None:
        where = str(PLACE.files.parent)
        self._run("cp", "-", f"{self.name}:{where}", data=_archive(files))

    def _remove_ours(self) -> None:
        if self._is_ours():
            self._run("rm", "--force", self.name)

    def _is_ours(self) -> bool:
        shown = '{{ index .Config.Labels "' + _LABEL + '" }}'
        found = _call(
            self._engine, "container", "inspect", "--format", shown, self.name, check=False
        )
        return found.returncode == 0 and found.stdout.strip() == b"1"

    def _wait_until_it_listens(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while True:
            log = self._run("logs", "--tail", _LOG_LINES, self.name)
            said = (log.stdout + log.stderr).decode(errors="replace")
            if any(line.endswith(_RUNNING) for line in said.splitlines()):
                return
            state = self._run("container", "inspect", "--format", "{{.State.Status}}", self.name)
            is_over = state.stdout.strip() not in {b"created", b"running"}
            if is_over or time.monotonic() > deadline_s:
                raise UsageError(f"Mosquitto does not start in {self.name}: {said[-1000:]}")
            time.sleep(_LOOK_S)

    def _run(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return _call(self._engine, *words, data=data)


def _call(
    engine: str, *words: str, data: bytes | None = None, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            [engine, *words], input=data, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UsageError(f"{engine} {words[0]}: {exc}") from exc
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"{engine} {words[0]}: {said[-500:]}")
    return done


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Give files as a tar archive with a folder, all of it the container's user's own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        folder = _entry(PLACE.files.name, 0o700)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in sorted(files.items()):
            entry = _entry(f"{PLACE.files.name}/{name}", 0o600)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid = mode, _USER, _USER
    return entry
