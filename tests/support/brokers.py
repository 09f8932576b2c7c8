"""Real Mosquittos for tests and benchmarks, in a container or as a binary.

    with mosquitto("development") as broker:
        client.connect(broker.host, broker.port)
        broker.restart(keep_data=False)

Ports are chosen once and stay through restarts, so that clients find the broker again.
Leaves to others: container or binary (engine.py), and the configuration
(mosquitto/, moved to where it runs by mosquitto_files.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from docker.errors import APIError
from testcontainers.core.container import DockerContainer

from tests.support import engine
from tests.support.certificates import Certificates
from tests.support.engine import BrokerUnavailable
from tests.support.mosquitto_files import DATA, PORTS, Flavour, Place, container_place, files
from tests.support.ports import free_ports

_START_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 60
_POLL_S: Final = 0.02
_PORT_TRIES: Final = 5


class _PortTaken(Exception):
    """Another process took the port between our choosing and our using it."""


class Broker(ABC):
    """A Mosquitto that a test may stop, kill, start and restart at will.

    Attributes:
        host, port: where devices connect (plain MQTT in development, TLS in production).
        publisher_port: where publishers connect; the same as `port` in development.
        flavour: which configuration of mosquitto/ it runs.
        certificates: for production, all that clients need; else None.
    """

    host: Final = "127.0.0.1"

    def __init__(
        self, flavour: Flavour, ports: tuple[int, ...], certificates: Certificates | None
    ) -> None:
        self.flavour = flavour
        self.certificates = certificates
        self.port, self.publisher_port = ports[0], ports[-1]

    @property
    def url(self) -> str:
        """Where devices connect, as a URL."""
        return self._url(self.port)

    @property
    def publisher_url(self) -> str:
        """Where publishers connect, as a URL."""
        return self._url(self.publisher_port)

    def restart(self, *, keep_data: bool = True) -> None:
        """Stop and start on the same ports, with what was persisted or with nothing."""
        self.stop()
        if not keep_data:
            self._forget()
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Start, and return once it accepts clients.

        Raises:
            BrokerUnavailable: it ended or did not get ready; the message has its log.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop in order: what is persistent is written. Nothing happens if it is stopped."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would: what was not saved is gone."""

    @abstractmethod
    def log(self) -> str:
        """All that it has logged, through all its restarts."""

    @abstractmethod
    def stored(self) -> bytes:
        """Give what it persisted, all files one after the other."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove what it left."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what a stopped broker persisted."""

    def _url(self, port: int) -> str:
        scheme = "mqtt" if self.certificates is None else "mqtts"
        return f"{scheme}://{self.host}:{port}"


class _Container(Broker):
    """Mosquitto in a container, its ports mapped to loopback."""

    def __init__(
        self,
        flavour: Flavour,
        ports: tuple[int, ...],
        contents: dict[str, bytes],
        certificates: Certificates | None,
    ) -> None:
        super().__init__(flavour, ports, certificates)
        self._ports = ports
        self._contents = contents
        self._container: DockerContainer | None = None
        self._starts = 0
        self._earlier_log = ""

    def start(self) -> None:
        try:
            if self._container is None:
                self._container = self._made()
                self._container.start()
            else:
                self._docker.start()
        except APIError as refused:
            if "port is already allocated" in str(refused) or "in use" in str(refused):
                raise _PortTaken(str(refused)) from refused
            raise
        self._starts += 1
        _wait_until_running(self._log_of_container, self._ended, self._starts)

    def stop(self) -> None:
        if self._container is not None:
            self._docker.stop(timeout=_STOP_TIMEOUT_S)

    def kill(self) -> None:
        self._docker.kill(signal="SIGKILL")
        self._docker.wait(timeout=_STOP_TIMEOUT_S)

    def log(self) -> str:
        return self._earlier_log + self._log_of_container()

    def stored(self) -> bytes:
        parts, _ = self._docker.get_archive(f"/mosquitto/{DATA}")
        return b"".join(parts)

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        if container.get_wrapped_container() is not None:
            self._earlier_log += _text(container.get_wrapped_container().logs())
        self._starts = 0
        container.stop()  # testcontainers' word for removing it, with its volumes

    def _made(self) -> DockerContainer:
        container = DockerContainer(engine.image()).with_kwargs(labels=engine.process_label())
        mapping: dict[str, Any] = container.ports  # wider than testcontainers says: see docker-py
        for inside, outside in zip(PORTS[self.flavour], self._ports, strict=True):
            mapping[f"{inside}/tcp"] = (self.host, outside)
        for path, data in self._contents.items():
            # Copied, not mounted: it works with an engine on another machine too.
            container.with_copy_into_container(data, f"/mosquitto/{path}")
        return container

    @property
    def _docker(self) -> Any:
        if self._container is None:
            raise BrokerUnavailable("this broker was never started, or is closed")
        return self._container.get_wrapped_container()

    def _log_of_container(self) -> str:
        return "" if self._container is None else _text(self._docker.logs())

    def _ended(self) -> bool:
        self._docker.reload()
        return bool(self._docker.status in {"exited", "dead"})


class _Binary(Broker):
    """Mosquitto as a child process, everything of it in one folder."""

    def __init__(
        self,
        flavour: Flavour,
        ports: tuple[int, ...],
        home: Path,
        certificates: Certificates | None,
    ) -> None:
        super().__init__(flavour, ports, certificates)
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        if self._process is not None:
            return
        path = engine.binary()
        if path is None:
            raise BrokerUnavailable("the mosquitto binary is gone: install the package `mosquitto`")
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(path), "-c", str(self._home / "config/mosquitto.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._starts += 1
        try:
            _wait_until_running(self.log, self._ended, self._starts)
        except BrokerUnavailable as failed:
            self.stop()
            if "Address already in use" in str(failed):
                raise _PortTaken(str(failed)) from failed
            raise

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def log(self) -> str:
        return _text(self._log_file.read_bytes())

    def stored(self) -> bytes:
        files = sorted(path for path in (self._home / DATA).rglob("*") if path.is_file())
        return b"".join(path.read_bytes() for path in files)

    def close(self) -> None:
        self.kill()

    def _forget(self) -> None:
        shutil.rmtree(self._home / DATA)
        (self._home / DATA).mkdir()

    @property
    def _log_file(self) -> Path:
        return self._home / "log.txt"

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(timeout=_STOP_TIMEOUT_S)


@contextlib.contextmanager
def mosquitto(
    flavour: Flavour = "development",
    *,
    is_persistent: bool | None = None,
    extra: Sequence[str] = (),
    extra_files: Mapping[str, bytes] | None = None,
) -> Iterator[Broker]:
    """Run a Mosquitto with a configuration of mosquitto/ for the length of the block.

    Args:
        flavour: `production` is TLS with the ACL; certificates are made for it.
        is_persistent: whether retained messages survive `restart(keep_data=True)`;
            by default as the configuration has it: production yes, development no.
        extra: more lines of configuration, for a test that needs a limit or a log type.
        extra_files: more files by their path below /mosquitto, for `extra` to name.

    Raises:
        BrokerUnavailable: there is no Mosquitto here, or it did not start.
    """
    keeps = flavour == "production" if is_persistent is None else is_persistent
    with tempfile.TemporaryDirectory(prefix="slotcast-broker-") as folder:
        home = Path(folder)
        certificates = Certificates(home / "issued") if flavour == "production" else None
        broker = _started(flavour, home, certificates, keeps, tuple(extra), extra_files or {})
        try:
            yield broker
        finally:
            broker.close()


def _started(
    flavour: Flavour,
    home: Path,
    certificates: Certificates | None,
    is_persistent: bool,
    extra: tuple[str, ...],
    extra_files: Mapping[str, bytes],
) -> Broker:
    is_container = engine.kind() == "container"
    for _ in range(_PORT_TRIES):
        ports = free_ports(len(PORTS[flavour]))
        place = container_place(flavour) if is_container else Place(str(home), "127.0.0.1", ports)
        # Mosquitto started by root becomes another user, who may not enter our folder.
        own_user = () if is_container or os.geteuid() != 0 else ("user root",)
        contents = files(
            flavour,
            place,
            is_persistent=is_persistent,
            extra=(*own_user, *extra),
            certificates=certificates,
        )
        contents |= extra_files
        broker: Broker
        if is_container:
            broker = _Container(flavour, ports, contents, certificates)
        else:
            _write_home(home, contents)
            broker = _Binary(flavour, ports, home, certificates)
        try:
            broker.start()
        except _PortTaken:
            broker.close()
        except BaseException:
            broker.close()
            raise
        else:
            return broker
    raise BrokerUnavailable(f"{_PORT_TRIES} times another process took the chosen port: try again")


def _write_home(home: Path, contents: dict[str, bytes]) -> None:
    (home / DATA).mkdir(exist_ok=True)
    for path, data in contents.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data)
        (home / path).chmod(0o600)


def _wait_until_running(log: Callable[[], str], has_ended: Callable[[], bool], starts: int) -> None:
    """Wait for Mosquitto's own word: a mapped port accepts before anyone listens behind it."""
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while log().count(" running\n") < starts:
        if has_ended() or time.monotonic() > deadline_s:
            raise BrokerUnavailable(f"Mosquitto did not start; its log:\n{log()}")
        time.sleep(_POLL_S)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
