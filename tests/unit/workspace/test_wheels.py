"""What `make wheels` promises: the same bytes from the same sources, with all that people need."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import slotcast_device
import slotcast_publisher
import slotcast_schemas
from slotcast_device import packaged_files
from tests.support.bills import check_bill
from tests.support.engine import REPOSITORY

DISTRIBUTIONS = {
    "schemas": slotcast_schemas.__version__,
    "device": slotcast_device.__version__,
    "publisher": slotcast_publisher.__version__,
}


def known_to_git() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name]


def make_wheels(clone: Path, umask: int, seconds: str) -> Path:
    """Run the target's script in a clone of its own; `seconds` is the date of the files."""
    for name in known_to_git():
        source, target = REPOSITORY / name, clone / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
            os.utime(target, (float(seconds), float(seconds)), follow_symlinks=False)
    subprocess.run(
        [sys.executable, str(clone / "tools/wheels.py")],
        check=True,
        capture_output=True,
        umask=umask,
        env={k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"},
    )
    return clone / "dist"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheels(tmp_path_factory.mktemp("one"), 0o022, "1700000000")


def test_the_same_sources_give_the_same_bytes(
    dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = make_wheels(tmp_path_factory.mktemp("other folder"), 0o077, "1800000000")
    names = sorted(path.name for path in dist.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert len(names) == 3 * 2 + 2 * 2 + 1
    for name in names:
        assert (dist / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.parametrize("command", ["device", "publisher"])
def test_the_bill_of_materials_is_valid_and_has_just_what_is_installed(
    dist: Path, command: str
) -> None:
    text = (dist / f"sbom-{command}.cdx.json").read_text()
    check_bill(text)
    bill = json.loads(text)
    own = bill["metadata"]["component"]
    wheel = dist / f"slotcast_{command}-{own['version']}-py3-none-any.whl"
    assert own["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    entries = re.split(r"\n(?=\S)", (dist / f"requirements-{command}.txt").read_text().strip())
    lines = {entry.split(" \\\n")[0] for entry in entries}
    assert {one["bom-ref"] for one in [own, *bill["components"]]} == lines


def test_every_file_has_its_sum(dist: Path) -> None:
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in dist.iterdir()}
    del found["SHA256SUMS"]
    assert sums == found


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_wheel_and_sdist_have_what_the_licence_and_a_reader_ask_for(
    dist: Path, distribution: str
) -> None:
    version = DISTRIBUTIONS[distribution]
    stem = f"slotcast_{distribution}-{version}"
    licence = (REPOSITORY / "LICENSE").read_bytes()
    with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl") as wheel:
        assert wheel.read(f"{stem}.dist-info/licenses/LICENSE") == licence
        metadata = Parser().parsestr(wheel.read(f"{stem}.dist-info/METADATA").decode())
        assert f"slotcast_{distribution}/py.typed" in wheel.namelist()
        if distribution == "device":
            packed_share = {Path(n).name for n in wheel.namelist() if "/share/" in n}
            assert packed_share == set(packaged_files.DESCRIPTIONS)
    with tarfile.open(dist / f"{stem}.tar.gz") as sdist:
        packed = sdist.extractfile(f"{stem}/LICENSE")
        assert packed is not None
        assert packed.read() == licence
    assert metadata["Version"] == version
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Programming Language :: Python :: 3.13" in metadata.get_all("Classifier", [])
    described = str(metadata.get_payload())
    assert len(described.splitlines()) > 8
    assert "See the README of the repository" not in described


@pytest.mark.parametrize("distribution", ["device", "publisher"])
def test_a_distribution_pins_the_contract_of_its_own_version(distribution: str) -> None:
    text = (REPOSITORY / distribution / "pyproject.toml").read_text()
    assert f'"slotcast-schemas=={slotcast_schemas.__version__}"' in text
    assert DISTRIBUTIONS[distribution] == slotcast_schemas.__version__


def test_the_list_for_a_device_is_closed_and_has_nothing_of_the_publishers(dist: Path) -> None:
    text = (dist / "requirements-device.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    names = {Requirement(entry.split(" \\\n")[0]).name for entry in entries}
    assert names >= {"slotcast-device", "slotcast-schemas", "onnxruntime", "cryptography", "cffi"}
    assert not names & {"slotcast-publisher", "typer", "onnx", "pytest"}
    assert all("--hash=sha256:" in entry for entry in entries)
    again = (dist / "requirements-publisher.txt").read_text()
    assert "slotcast-publisher==" in again
    assert "slotcast-device==" not in again


@pytest.mark.parametrize("command", ["slotcast", "slotcast-device"])
def test_a_command_says_its_version(command: str) -> None:
    path = Path(sys.executable).with_name(command)
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{command} {slotcast_schemas.__version__}\n")
