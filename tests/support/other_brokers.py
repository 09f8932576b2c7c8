"""Brokers other than Mosquitto, each in a folder of its own, on loopback, for as long as a block.

    with rabbitmq(folder) as broker:
        publisher.copy(path, broker.url, prefix="x").publish("clf", "1.0")

RabbitMQ, ejabberd and NATS are Debian's packages, aedes is npm's, amqtt is among the development
dependencies. One that is not here raises `BrokerUnavailable`, which says what to install.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.demo.broker import EmbeddedBroker
from tests.support.engine import BrokerUnavailable
from tests.support.ports import free_ports

START_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.1
_RABBIT: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_DEBIAN_ERLANG: Final = "/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu"

_RABBIT_CONF: Final = """\
listeners.tcp.local = 127.0.0.1:{amqp}
mqtt.listeners.tcp.local = 127.0.0.1:{mqtt}
mqtt.allow_anonymous = true
"""
_EJABBERD_YML: Final = """\
hosts: ["localhost"]
loglevel: warning
auth_method: anonymous
anonymous_protocol: login_anon
allow_multiple_connections: true
listen:
  - port: {mqtt}
    ip: "127.0.0.1"
    module: mod_mqtt
    backlog: 100
    max_payload_size: 1000000
modules:
  mod_mqtt:
    access_publish: {{}}
    access_subscribe: {{}}
    max_queue: 10000
"""
_NATS_CONF: Final = """\
server_name: alone
listen: "127.0.0.1:{client}"
jetstream {{ store_dir: "{folder}", max_memory_store: 64MB, max_file_store: 1GB }}
mqtt {{ listen: "127.0.0.1:{mqtt}" }}
"""
_AEDES_JS: Final = """\
const net = require('net');
const { Aedes } = require('aedes');
Aedes.createBroker({ queueLimit: 10000 }).then((broker) => {
  net.createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1');
});
"""


@dataclass(frozen=True, slots=True)
class OtherBroker:
    """A running broker: its name with its version, and where MQTT clients connect."""

    name: str
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def rabbitmq(folder: Path) -> Iterator[OtherBroker]:
    """Run RabbitMQ with its MQTT plugin.

    Raises:
        BrokerUnavailable: it is not here, or does not start; the message has its log.
    """
    if not _RABBIT.exists():
        raise BrokerUnavailable("RabbitMQ is not here: install the package `rabbitmq-server`")
    amqp, mqtt, epmd, dist = free_ports(4)
    folder.mkdir(parents=True)
    (folder / "rabbitmq.conf").write_text(_RABBIT_CONF.format(amqp=amqp, mqtt=mqtt))
    (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
    env = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"slotcast{mqtt}@localhost",
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    version = next((p.name for p in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")), "")
    try:
        with _running([str(_RABBIT)], folder, mqtt, env):
            name = f"RabbitMQ {version.rpartition('-')[2]}"
            yield OtherBroker(name, f"mqtt://127.0.0.1:{mqtt}")
    finally:  # Erlang starts a daemon beside the node; this one listens on a port of ours
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], capture_output=True, check=False)


@contextlib.contextmanager
def ejabberd(folder: Path) -> Iterator[OtherBroker]:
    """Run ejabberd with its MQTT module, for anonymous users.

    Raises:
        BrokerUnavailable: it is not here, or does not start; the message has its log.
    """
    found = sorted(
        path for part in _DEBIAN_ERLANG.split(":") for path in Path(part).glob("ejabberd-[0-9]*")
    )
    if not found:
        raise BrokerUnavailable("ejabberd is not here: install the package `ejabberd`")
    (mqtt,) = free_ports(1)
    folder.mkdir(parents=True)
    (folder / "ejabberd.yml").write_text(_EJABBERD_YML.format(mqtt=mqtt))
    env = {
        "HOME": str(folder),
        "ERL_LIBS": _DEBIAN_ERLANG,
        "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
    }
    command = ["erl", "-noinput", "-mnesia", "dir", f'"{folder / "data"}"', "-s", "ejabberd"]
    with _running(command, folder, mqtt, env):
        name = f"ejabberd {found[0].name.split('-')[1]}"
        yield OtherBroker(name, f"mqtt://device%40localhost:x@127.0.0.1:{mqtt}")


@contextlib.contextmanager
def nats(folder: Path) -> Iterator[OtherBroker]:
    """Run one NATS server with its MQTT gateway.

    Raises:
        BrokerUnavailable: it is not here, or does not start; the message has its log.
    """
    path = _binary("nats-server")
    client, mqtt = free_ports(2)
    folder.mkdir(parents=True)
    text = _NATS_CONF.format(client=client, mqtt=mqtt, folder=folder / "store")
    (folder / "nats.conf").write_text(text)
    version = _output([path, "--version"]).rpartition("v")[2]
    with _running([path, "-c", str(folder / "nats.conf")], folder, mqtt, {}):
        yield OtherBroker(f"NATS {version}", f"mqtt://127.0.0.1:{mqtt}")


@contextlib.contextmanager
def aedes(folder: Path) -> Iterator[OtherBroker]:
    """Run aedes, which is installed by npm if `SLOTCAST_AEDES` names no folder that has it.

    Raises:
        BrokerUnavailable: node or npm is not here, or it does not start; with the log.
    """
    node, npm = _binary("node"), _binary("npm")
    folder.mkdir(parents=True)
    where = Path(os.environ.get("SLOTCAST_AEDES", folder))
    if not (where / "node_modules/aedes").is_dir():
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(where), "aedes@1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise BrokerUnavailable(f"npm could not install aedes:\n{done.stderr[-2000:]}")
    (mqtt,) = free_ports(1)
    (folder / "broker.cjs").write_text(_AEDES_JS)
    env = {"NODE_PATH": str(where / "node_modules")}
    with _running([node, str(folder / "broker.cjs"), str(mqtt)], folder, mqtt, env):
        yield OtherBroker("aedes 1", f"mqtt://127.0.0.1:{mqtt}")


@contextlib.contextmanager
def amqtt(_folder: Path) -> Iterator[OtherBroker]:
    """Run amqtt, in this process."""
    with EmbeddedBroker() as broker:
        yield OtherBroker("amqtt", broker.url)


def _binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BrokerUnavailable(f"{name} is not here: install the package of that name")
    return found


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, port: int, env: Mapping[str, str]
) -> Iterator[None]:
    """Run a server until the block ends; begins once its port takes connections."""
    log_path = folder / "stdout.txt"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | dict(env),
            start_new_session=True,
        )
    try:
        _wait_until_open(process, port, log_path)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its children too, such as Erlang's node
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            text = log.read_text(errors="replace")[-3000:]
            raise BrokerUnavailable(f"{process.args!r} did not start:\n{text}")
        time.sleep(_POLL_S)
