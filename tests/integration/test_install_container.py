"""The container recipe that comes with the device client, built and run as its head says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slotcast_device import packaged_files
from slotcast_schemas.states import State
from tests.support import engine, python_image
from tests.support.installing import MODEL, Stand

pytestmark = [
    pytest.mark.broker,
    pytest.mark.container,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not engine.engine_runs(), reason="no container engine answers"),
]

DEVICE = "camera-8"
LONG_S = 180.0


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Built:
    """An image, and the folder from which it was built."""

    image: str
    folder: Path


@pytest.fixture(scope="module")
def built(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Build beside the folder of wheels, with what `slotcast-device files` copies."""
    folder = tmp_path_factory.mktemp("recipe")
    packaged_files.copy_to(folder)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    try:
        base = python_image.image()
    except engine.NoImage as why:
        pytest.skip(str(why))
    image = f"slotcast/device-test:{uuid.uuid4().hex[:8]}"
    recipe = str(folder / "Containerfile")
    given = ("--build-arg", f"BASE={base}", "--build-arg", "ALLOW_TAG=1")
    docker("build", *given, "-f", recipe, "-t", image, str(folder))
    yield Built(image, folder)
    docker("image", "rm", "--force", image)


@pytest.fixture(scope="module")
def agent(built: Built, stand: Stand) -> Iterator[str]:
    """A container that is run as the recipe's head says; only names and the network differ."""
    out = built.folder / "camera-7"
    for path in out.iterdir():
        path.unlink()
    stand.publisher.provision(
        DEVICE, out, stand.broker.url, models=[MODEL], state_dir=Path("/var/lib/slotcast")
    )
    name = f"slotcast-test-{uuid.uuid4().hex[:8]}"
    run = said_command(built.folder / "Containerfile", "docker run")
    run = run.replace('"$PWD/', f'"{built.folder}/').replace(
        "--name slotcast-device", f"--name {name}"
    )
    run = run.replace("-v slotcast:", f"-v {name}:").removesuffix("slotcast/device")
    # The broker is on loopback, and a health check of one minute is long for a test.
    options = "--network host --health-interval 1s --health-retries 1 --label {}={}".format(
        *next(iter(engine.process_label().items()))
    )
    own = said_command(built.folder / "Containerfile", "chown")
    for command in (own.partition(" #")[0], f"{run} {options} {built.image}"):
        done = subprocess.run(
            shlex.split(command), cwd=built.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    yield name
    docker("rm", "--force", "--volumes", name)
    docker("volume", "rm", "--force", name)


def said_command(recipe: Path, begins: str) -> str:
    """Give a command that the recipe's head says, in one line."""
    head = "\n".join(
        line[1:].strip() for line in recipe.read_text().splitlines() if line[:1] == "#"
    )
    (command,) = re.findall(rf"^{begins} .*$", head.replace("\\\n", ""), re.MULTILINE)
    return str(command)


def health(name: str) -> str:
    found: str = json.loads(docker("inspect", name))[0]["State"]["Health"]["Status"]
    return found


def wait_for_health(name: str, wanted: str) -> None:
    deadline_s = time.monotonic() + LONG_S
    while health(name) != wanted:
        assert time.monotonic() < deadline_s, docker("inspect", name) + docker("logs", name)


def test_it_takes_a_release_as_a_user_of_its_own(agent: str, stand: Stand) -> None:
    with stand.observer(DEVICE) as observer:
        observer.wait_for_state(MODEL, State.COMMITTED, "1.0")
    assert docker("exec", agent, "id", "-u") == "990"
    modes = docker("exec", agent, "stat", "-c", "%U %G %a", f"/var/lib/slotcast/models/{MODEL}/app")
    assert modes == "slotcast slotcast 3770"
    done = docker(
        "exec", agent, "slotcast-device", "check", "--config", "/etc/slotcast/device.toml"
    )
    assert "FAIL" not in done


def test_an_application_in_another_container_reads_and_reports(agent: str, built: Built) -> None:
    program = (
        "import time; from slotcast_device import HotModel;"
        f" model = HotModel('/var/lib/slotcast/models/{MODEL}/current', report_s=0.05);"
        " print(model.release.version);"
        " import glob; deadline = time.monotonic() + 60\n"
        f"while not glob.glob('/var/lib/slotcast/models/{MODEL}/app/report-*.json'):\n"
        "    assert time.monotonic() < deadline\n"
        "print('reported')"
    )
    options = ["--rm", "--user", "4711:4711", "--group-add", "990", "--entrypoint"]
    shared = ["/opt/slotcast/bin/python", "-v", f"{agent}:/var/lib/slotcast"]
    said = docker("run", *options, *shared, built.image, "-c", program)
    assert said.split() == ["1.0", "reported"]


def test_the_health_check_fails_when_the_agent_hangs(agent: str) -> None:
    wait_for_health(agent, "healthy")
    docker("kill", "--signal", "STOP", agent)
    wait_for_health(agent, "unhealthy")
    docker("kill", "--signal", "CONT", agent)
    wait_for_health(agent, "healthy")
