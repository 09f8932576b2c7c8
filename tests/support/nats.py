"""A three-node NATS JetStream cluster with MQTT gateways, on loopback, for tests and benchmarks.

    with cluster(tmp_path) as nodes:
        urls = [node.url for node in nodes]
        nodes[1].kill()

`nats-server` is Debian's and Ubuntu's package of that name; tools/test installs it where it may.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.engine import BrokerUnavailable
from tests.support.ports import free_ports

NODES: Final = 3
_START_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.05
_ANSWER_S: Final = 10.0
_CONNECT: Final = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03raw"
_ACCEPTED: Final = b"\x20\x02\x00\x00"

_CONF: Final = """\
server_name: {name}
listen: "127.0.0.1:{client}"
jetstream {{ store_dir: "{folder}", max_memory_store: 64MB, max_file_store: 1GB }}
cluster {{
  name: slotcast
  listen: "127.0.0.1:{route}"
  routes: [{routes}]
}}
mqtt {{ listen: "127.0.0.1:{mqtt}" }}
"""


def binary() -> Path | None:
    """Give the path of `nats-server`, or None."""
    found = shutil.which("nats-server", path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    found = found or shutil.which("nats-server")
    return Path(found) if found else None


class Node:
    """One server of the cluster.

    Attributes:
        url: where MQTT clients connect.
    """

    def __init__(self, path: Path, folder: Path, port: int) -> None:
        self.host, self.port = "127.0.0.1", port
        self.url = f"mqtt://127.0.0.1:{port}"
        self._path = path
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; whether the cluster is ready is another question."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._path), "-c", str(self._folder / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)

    def answers(self) -> bool:
        """Say whether an MQTT client is let in."""
        try:
            with socket.create_connection((self.host, self.port), _ANSWER_S) as link:
                link.sendall(_CONNECT)
                return link.recv(len(_ACCEPTED)) == _ACCEPTED
        except OSError:
            return False

    def log(self) -> str:
        """All that it has logged."""
        return self._log_file.read_text(errors="replace")

    @property
    def _log_file(self) -> Path:
        return self._folder / "log.txt"


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """Run three nodes for the length of the block; returns once each answers.

    Raises:
        BrokerUnavailable: there is no `nats-server`, or it does not get ready; with its log.
    """
    path = binary()
    if path is None:
        raise BrokerUnavailable("nats-server is not here: install the package `nats-server`")
    ports = free_ports(3 * NODES)
    routes = ports[NODES : 2 * NODES]
    nodes = []
    for number in range(NODES):
        home = folder / f"node{number}"
        home.mkdir(parents=True)
        (home / "nats.conf").write_text(
            _CONF.format(
                name=f"node{number}",
                client=ports[number],
                route=routes[number],
                routes=", ".join(f'"nats://127.0.0.1:{port}"' for port in routes),
                folder=home / "store",
                mqtt=ports[2 * NODES + number],
            )
        )
        nodes.append(Node(path, home, ports[2 * NODES + number]))
    try:
        for node in nodes:
            node.start()
        _wait_until_all_answer(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def _wait_until_all_answer(nodes: list[Node]) -> None:
    """Wait until each node takes an MQTT client.

    Before the cluster has a leader that all know, a client is refused or hung up on; the leader's
    own log line comes sooner.
    """
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not all(node.answers() for node in nodes):
        if time.monotonic() > deadline_s:
            logs = "\n".join(node.log() for node in nodes)
            raise BrokerUnavailable(f"no MQTT at some node of the NATS cluster:\n{logs}")
        time.sleep(_POLL_S)
