"""Decides what Mosquitto the tests run: a container where an engine runs, else a binary.

`python -m tests.support.engine` prints the decision (tools/test calls it):
exit code 0 with one line saying which is used; 69 if there is none, with what to do about it;
64 if the environment contradicts itself.

Environment:
    SLOTCAST_MOSQUITTO: `container` or `binary` instead of deciding.
    SLOTCAST_REQUIRE_CONTAINER=1: a missing container engine is an error (CI sets it).
    SLOTCAST_MOSQUITTO_IMAGE: this image instead of the official or the locally built one.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException
from testcontainers.core.config import testcontainers_config

OFFICIAL_IMAGE: Final = "eclipse-mosquitto:2"
LOCAL_IMAGE: Final = "slotcast/mosquitto:local"
REPOSITORY: Final = Path(__file__).resolve().parents[2]
PROCESS_LABEL: Final = "org.slotcast.test.process"
"""On each container of ours: the machine and process that will remove it."""

_PULL_TIMEOUT_S: Final = 90

# Ryuk is one more image to pull. `remove_forgotten` does its work for killed test runs.
testcontainers_config.ryuk_disabled = True


class BrokerUnavailable(Exception):
    """No Mosquitto can be run here; the message says who has to do what."""

    exit_code: ClassVar[int] = 69


class NoImage(Exception):
    """None is here, none can be pulled and none can be made; the message says why."""


class BadSetting(BrokerUnavailable):
    """The environment asks for what cannot be; installing something would not help."""

    exit_code = 64


@functools.cache
def kind() -> str:
    """Give "container" or "binary".

    Raises:
        BrokerUnavailable: neither is there, or not the one that the environment asks for.
    """
    wanted = os.environ.get("SLOTCAST_MOSQUITTO", "")
    if wanted not in {"", "container", "binary"}:
        raise BadSetting(f"SLOTCAST_MOSQUITTO: expected container or binary, got {wanted!r}")
    must_be_container = bool(os.environ.get("SLOTCAST_REQUIRE_CONTAINER"))
    if must_be_container and wanted == "binary":
        raise BadSetting(
            "SLOTCAST_REQUIRE_CONTAINER and SLOTCAST_MOSQUITTO=binary contradict: unset one"
        )
    if wanted != "binary" and engine_runs():
        return "container"
    if must_be_container or wanted == "container":
        raise BrokerUnavailable(
            "a container engine is required, and none answers:"
            " start dockerd, or point DOCKER_HOST to one"
        )
    if binary() is None:
        raise BrokerUnavailable(
            "neither a container engine nor a mosquitto binary is here:"
            " start an engine, or install the package `mosquitto`"
        )
    return "binary"


def engine_runs() -> bool:
    """Whether a container engine answers."""
    if not _socket_answers():
        return False
    try:
        client = docker.from_env(timeout=60)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, RequestException):
        return False
    finally:
        client.close()


def _socket_answers() -> bool:
    """Whether someone listens on the engine's socket; true for an engine that is elsewhere.

    docker-py forgets to close a Unix socket that it could not connect, which our tests take ill.
    """
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True


def binary() -> Path | None:
    """Give the Mosquitto binary; Debian keeps it where only root looks."""
    found = shutil.which(
        "mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin"
    )
    return None if found is None else Path(found)


@functools.cache
def image() -> str:
    """Give the image to run: the one asked for, else one that is here, else pulled, else built.

    Raises:
        BrokerUnavailable: no image is here, none can be pulled and none can be built.
    """
    return choose_image("SLOTCAST_MOSQUITTO_IMAGE", OFFICIAL_IMAGE, LOCAL_IMAGE, _build_local_image)


def choose_image(variable: str, official: str, local: str, make: Callable[[], None]) -> str:
    """Give an image: the one asked for, else one that is here, else pulled, else made.

    Args:
        variable: the environment's, by which one is asked for.
        official: its name in a registry.
        local: its name here, should it be made.
        make: makes that one, or raises.
    """
    asked_for = os.environ.get(variable)
    if asked_for:
        return asked_for
    client = docker.from_env(timeout=_PULL_TIMEOUT_S)
    try:
        for name in (official, local):
            if _is_here(client, name):
                return name
        if _pull(client, official):
            return official
    finally:
        client.close()
    make()
    return local


def remove_forgotten() -> list[str]:
    """Remove containers of test runs on this machine that were killed; give their names."""
    client = docker.from_env(timeout=60)
    try:
        removed = []
        for container in client.containers.list(all=True, filters={"label": PROCESS_LABEL}):
            machine, _, process = container.labels[PROCESS_LABEL].rpartition(":")
            if machine == socket.gethostname() and not Path("/proc", process).exists():
                _remove(container)
                removed.append(str(container.name))
        return removed
    finally:
        client.close()


def process_label() -> dict[str, str]:
    """Give the label for a container that this process will remove."""
    return {PROCESS_LABEL: f"{socket.gethostname()}:{os.getpid()}"}


def describe() -> str:
    """Say in a line which Mosquitto the tests use.

    Raises:
        BrokerUnavailable: as `kind` and `image`.
    """
    if kind() == "container":
        return f"Mosquitto for the integration tests: container of {image()}"
    return f"Mosquitto for the integration tests: binary {binary()} (no container engine answers)"


def _is_here(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(client: docker.DockerClient, name: str) -> bool:
    """Fetch an image from its registry; gives whether it came."""
    try:
        client.images.pull(name)
    except (DockerException, RequestException):
        return False
    return True


def _remove(container: Any) -> None:
    try:
        container.remove(force=True, v=True)
    except (NotFound, APIError):
        return  # another run was faster


def _build_local_image() -> None:
    script = REPOSITORY / "mosquitto" / "build-local-image"
    done = subprocess.run([str(script), LOCAL_IMAGE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokerUnavailable(
            f"{OFFICIAL_IMAGE} cannot be pulled, and {script.name} failed: {done.stderr.strip()}"
        )


def main() -> int:
    """Print the decision, and clear what killed runs left."""
    try:
        print(describe())
    except BrokerUnavailable as missing:
        print(f"error: {missing}", file=sys.stderr)
        return missing.exit_code
    if kind() == "container":
        for name in remove_forgotten():
            print(f"removed the container {name} of a test run that was killed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
