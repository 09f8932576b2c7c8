"""A Mosquitto that runs on the files `slotcast certificates` wrote, as they are.

    with certified_broker(repo) as broker:
        broker.reload()

It is a binary on this machine; `shipped_broker` is the container that `slotcast certificates
broker` makes, where an engine runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slotcast_publisher.certificates.broker_settings import CONFIGURATION, BrokerPlace
from slotcast_publisher.certificates.container import PLACE, BrokerContainer, find_engine
from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.repository import Repository
from tests.support import engine
from tests.support.ports import free_ports
from tests.support.recipients import slotcast

HOST: Final = "127.0.0.1"
_WAIT_S: Final = 60.0
_POLL_S: Final = 0.02
_CONNECT: Final = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03raw"
_CONNACK: Final = b"\x20\x02"


class CertifiedBroker:
    """A running Mosquitto.

    Args:
        repo: the repository whose certificates it reads.
        ports: for devices and for publishers.
    """

    def __init__(self, repo: Repository, ports: tuple[int, ...]) -> None:
        self.repo = repo
        self.devices_port, self.publishers_port = ports
        self.desk = open_desk(repo.path, repo.ring)
        self._log = repo.path / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it runs."""
        data = self.repo.path / "broker-data"
        data.mkdir(exist_ok=True)
        place = BrokerPlace(
            self.desk.broker.folder,
            data,
            self.devices_port,
            self.publishers_port,
            user="root" if os.geteuid() == 0 else None,
        )
        self.desk.broker.write_settings(place, self.repo.settings.prefix)
        binary = engine.binary()
        assert binary is not None, "the package mosquitto is missing"
        runs = self.log().count(" running\n")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), "-c", str(self.desk.broker.folder / CONFIGURATION)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for(" running\n", runs)

    def reload(self) -> None:
        """Have it read its files again, as SIGHUP does."""
        assert self._process is not None
        seen = self.log().count("Reloading config.\n")
        self._process.send_signal(signal.SIGHUP)
        self._wait_for("Reloading config.\n", seen)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(_WAIT_S)

    def close(self) -> None:
        """End it, and leave nothing that outlives the repository's folder."""
        self.stop()

    def stored(self) -> bytes:
        """Give what it persisted, all files one after the other; it is stopped."""
        files = sorted((self.repo.path / "broker-data").rglob("*"))
        return b"".join(path.read_bytes() for path in files if path.is_file())

    def log(self) -> str:
        """Give all that it logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lets_in(self, port: int, certificate: Path, key: Path) -> bool:
        """Say whether a client with this certificate gets a CONNACK, over a new TLS session."""
        return greet(self.context(certificate, key), port) is not None

    def context(self, certificate: Path, key: Path) -> ssl.SSLContext:
        """Give what a client connects with."""
        context = ssl.create_default_context(
            cafile=self.desk.authorities.certificate_path("brokers")
        )
        context.load_cert_chain(certificate, key)
        return context

    def shown(self, certificate: Path, key: Path) -> bytes | None:
        """Give the certificate that the broker shows to a device."""
        with (
            socket.create_connection((HOST, self.devices_port), _WAIT_S) as plain,
            self.context(certificate, key).wrap_socket(plain, server_hostname=HOST) as tls,
        ):
            return tls.getpeercert(binary_form=True)

    def _wait_for(self, word: str, seen: int) -> None:
        deadline_s = time.monotonic() + _WAIT_S
        while self.log().count(word) <= seen:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline_s, self.log()
            time.sleep(_POLL_S)


class ContainedBroker(CertifiedBroker):
    """The same in the container that `slotcast certificates broker` makes.

    Args:
        repo: the repository whose certificates it reads.
        ports: for devices and for publishers.
    """

    def __init__(self, repo: Repository, ports: tuple[int, ...]) -> None:
        super().__init__(repo, ports)
        self._name = f"slotcast-test-{uuid.uuid4().hex[:8]}"
        self._engine = find_engine() or ""

    def start(self) -> None:
        """Make it, and wait until it runs."""
        slotcast(
            "certificates", "broker", self.repo.path, "--name", self._name,
            "--image", engine.image(),
            "--devices-at", f"{HOST}:{self.devices_port}",
            "--publishers-at", f"{HOST}:{self.publishers_port}",
        )  # fmt: skip

    def reload(self) -> None:
        """Give it the files as they are, and have it read them again."""
        slotcast("certificates", "refresh", self.repo.path, "--container", self._name)

    def stop(self) -> None:
        """End it; what is retained is written."""
        self._run("stop", self._name)

    def close(self) -> None:
        """Remove it and its volume."""
        BrokerContainer(self._engine, self._name).remove()
        self._run("volume", "rm", "--force", f"{self._name}-data")

    def stored(self) -> bytes:
        """Give what it persisted, as one archive."""
        return self._run("cp", f"{self._name}:{PLACE.data}", "-")

    def log(self) -> str:
        """Give all that it logged."""
        return self._run("logs", self._name).decode(errors="replace")

    def _run(self, *words: str) -> bytes:
        done = subprocess.run(
            [self._engine, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if words[0] == "logs" else None,
            check=True,
        )
        return done.stdout


def greet(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSession | None, bool] | None:
    """Connect by hand; gives the TLS session and whether it is an old one, None when refused.

    Args:
        context: what the client connects with.
        port: where.
        session: a TLS session to go on with.
    """
    try:
        with (
            socket.create_connection((HOST, port), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=HOST, session=session) as tls,
        ):
            tls.sendall(_CONNECT)
            if tls.recv(2) != _CONNACK:
                return None
            return tls.session, bool(tls.session_reused)
    except ssl.SSLCertVerificationError:
        raise  # it is the client that refuses the broker
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return None


@contextlib.contextmanager
def certified_broker(repo: Repository) -> Iterator[CertifiedBroker]:
    """Run a Mosquitto for the length of the block; `init` of the certificates was done."""
    broker = CertifiedBroker(repo, free_ports(2))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@contextlib.contextmanager
def shipped_broker(repo: Repository, ports: tuple[int, ...]) -> Iterator[CertifiedBroker]:
    """Run the broker in a container where an engine runs, else on this machine, for the block.

    Args:
        repo: the repository; `init` of its certificates was done.
        ports: for devices and for publishers.
    """
    is_container = engine.kind() == "container"
    broker = ContainedBroker(repo, ports) if is_container else CertifiedBroker(repo, ports)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
