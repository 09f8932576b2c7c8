"""`slotcast certificates broker` with the engine of this machine, where it has one."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.certificates.container import BrokerContainer, find_engine
from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from tests.support import engine
from tests.support.certified_broker import HOST, CertifiedBroker
from tests.support.cli_docs import run_documented
from tests.support.ports import free_ports

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def run(command: str, *arguments: object) -> dict[str, Any]:
    return run_documented(f"certificates {command}", *arguments)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    made = Repository.init(tmp_path / "repo")
    open_desk(made.path, made.ring).init([HOST])
    return made


@pytest.fixture
def name() -> Iterator[str]:
    name = f"slotcast-test-{uuid.uuid4().hex[:8]}"
    yield name
    if found := find_engine():
        BrokerContainer(found, name).remove()
        subprocess.run([found, "volume", "rm", "--force", f"{name}-data"], check=False)


@pytest.mark.skipif(not engine.engine_runs(), reason="no container engine answers here")
def test_it_lets_in_whom_it_should_and_learns_of_who_is_revoked(
    repo: Repository, name: str
) -> None:
    ports = free_ports(2)
    options = ["--devices-at", f"{HOST}:{ports[0]}", "--publishers-at", f"{HOST}:{ports[1]}"]
    started = run("broker", repo.path, "--name", name, "--image", engine.image(), *options)
    assert started["container"] == name
    broker = CertifiedBroker(repo, ports)
    stolen, other = (broker.desk.publisher(label) for label in ("laptop", "server"))
    assert broker.lets_in(broker.publishers_port, *stolen)
    assert not broker.lets_in(broker.devices_port, *stolen)
    run("revoke", repo.path, "laptop", "--container", name)
    assert not broker.lets_in(broker.publishers_port, *stolen)
    assert broker.lets_in(broker.publishers_port, *other)
    # Made anew, it is the same broker.
    run("broker", repo.path, "--name", name, "--image", engine.image(), *options)
    assert broker.lets_in(broker.publishers_port, *other)


@pytest.mark.skipif(not engine.engine_runs(), reason="no container engine answers here")
def test_a_container_that_is_none_of_ours_is_left_alone(repo: Repository, name: str) -> None:
    with pytest.raises(UsageError, match="expected the name of one"):
        run("refresh", repo.path, "--container", name)


def test_where_no_container_is_wanted_a_configuration_for_this_machine_is_written(
    repo: Repository,
) -> None:
    made = run("broker", repo.path, "--no-container")
    assert made["container"] is None
    text = Path(made["configuration"]).read_text()
    assert f"persistence_location {repo.path.absolute()}/broker-data/" in text
    assert (repo.path / "broker-data").is_dir()
