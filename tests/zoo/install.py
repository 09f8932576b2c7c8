"""Takes one model of the zoo the whole way: release, Mosquitto, a device; then its damaged copies.

Every step is a command that a person types, in a process of its own; those of the publisher are
forks within `forked_children`. Two things are no commands:

- Golden samples are made without packing another payload of the same file, by what
  `slotcast release … --seed 1` asks for.
- A damaged copy is probed by the very child that a device runs, beside the good copy's samples,
  and not installed: the release of it would be refused before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec

from slotcast_publisher import cli
from slotcast_publisher.cli import releases
from slotcast_publisher.release.build import build_release
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.store import ReleaseFolder, Store
from slotcast_schemas.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from tests.support.cli_runner import CliRunner
from tests.zoo.damage import damaged
from tests.zoo.forked import is_forking, run_forked
from tests.zoo.listing import ZooModel

COMMAND_TIMEOUT_S: Final = 1800.0
"""The seconds after which a command is given up; a model of 54 MB on a busy machine takes long."""

OWNER_COMMAND: Final = Path(__file__).with_name("owner_command.py")

GOLDEN_SEED: Final = "1"
"""The seed that inputs of golden samples are made from."""

SAYS_LITTLE: Final = "a damaged model may pass too"
"""What the release says of golden samples whose outputs are all alike."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a command answered."""

    code: int
    out: str
    said: str


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a model.

    Attributes:
        size_bytes, image_bytes: of the model's file, and of all that is sent: golden samples that
            the release made are a part of it.
        payload_bytes: the smallest payload.
        refused: what the release said without the options that the list has for it.
        state, reason: what the device came to.
        is_whole: whether `current` of the device is the very file.
        good: what the probe says of the good copy beside its golden samples: `passed`.
        damaged: the same of each damaged copy.
        is_told: whether the release said that golden samples show no damage of this model.
        problems: what is not as it has to be; empty if all is.
    """

    name: str
    size_bytes: int = 0
    image_bytes: int = 0
    payload_bytes: int = 0
    refused: str = ""
    warnings: tuple[str, ...] = ()
    state: str = ""
    reason: str = ""
    is_whole: bool = False
    good: str = ""
    damaged: dict[str, str] = {}
    is_told: bool = False
    took_s: float = 0.0
    problems: tuple[str, ...] = ()


def travel(model: ZooModel, path: Path, broker_url: str, folder: Path) -> Journey:
    """Release a model, install it through the broker, and try its damaged copies.

    Args:
        model: the entry of the list.
        path: its file.
        broker_url: a Mosquitto.
        folder: an empty one, for repository and device.
    """
    start_s = time.monotonic()
    found = _released(model, path, broker_url, folder)
    if not found.problems:
        found = _installed(found, model, path, broker_url, folder)
    if not found.problems and not model.owners_command:
        found = _damaged(found, model, path, folder)
    return msgspec.structs.replace(found, took_s=round(time.monotonic() - start_s, 1))


def _run(program: str, *arguments: object) -> Step:
    words = [str(one) for one in arguments]
    if program == "slotcast_publisher" and is_forking():
        command = ["-m", "tests.zoo.publisher_command", *words]
        done = run_forked(command, timeout=COMMAND_TIMEOUT_S)
    else:
        command = [sys.executable, "-m", program, *words]
        done = subprocess.run(command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    said = done.stderr.decode(errors="replace")
    return Step(code=done.returncode, out=done.stdout.decode(), said=" ".join(said.split()))


# --- release ----------------------------------------------------------------------------------


def _released(model: ZooModel, path: Path, broker_url: str, folder: Path) -> Journey:
    found = Journey(name=model.name, size_bytes=path.stat().st_size)
    repo = folder / "repo"
    prefix = f"zoo/{model.name}"
    made = ["--no-passphrase", "--broker", broker_url, "--prefix", prefix]
    _expect(_run("slotcast_publisher", "init", repo, *made))
    release = ["release", repo, model.name, "1", f"{_file_name(model)}={path}"]
    release += ["--no-passphrase", "--json"]
    if model.options:
        refusal = _run("slotcast_publisher", *release)
        found = msgspec.structs.replace(found, refused=refusal.said)
        if refusal.code == 0:
            return _with_problem(found, f"is accepted without {' '.join(model.options)}")
        if unnamed := [one for one in model.help_wanted if one not in refusal.said]:
            return _with_problem(found, f"is refused without naming {unnamed}: {refusal.said}")
    done = _run("slotcast_publisher", *release, *model.options)
    if done.code:
        return _with_problem(
            found, f"is refused by the release (exit code {done.code}): {done.said}"
        )
    said: dict[str, Any] = json.loads(done.out)
    return msgspec.structs.replace(
        found,
        image_bytes=said["image_size_bytes"],
        payload_bytes=min(one["size_bytes"] for one in said["payloads"]),
        warnings=tuple(said["warnings"]),
    )


def _file_name(model: ZooModel) -> str:
    return f"model{model.suffix}"


def _with_problem(found: Journey, text: str) -> Journey:
    return msgspec.structs.replace(found, problems=(*found.problems, text))


def _expect(step: Step) -> Step:
    if step.code:
        raise RuntimeError(step.said)
    return step


# --- device -----------------------------------------------------------------------------------


def _installed(
    found: Journey, model: ZooModel, path: Path, broker_url: str, folder: Path
) -> Journey:
    repo, device, name = folder / "repo", folder / "device", found.name
    provision = [repo, "device", device, "--model", name, "--broker", broker_url]
    _expect(_run("slotcast_publisher", "publish", repo, name, "1"))
    _expect(_run("slotcast_publisher", "provision", *provision))
    config = ["--config", device / "device.toml"]
    if model.owners_command:
        _name_command(device / "device.toml")
    done = _run("slotcast_device", "run", "--once", *config)
    status = json.loads(_expect(_run("slotcast_device", "status", "--json", *config)).out)
    (one,) = status["models"]
    current = device / "state" / "models" / name / "current" / f"model{path.suffix}"
    found = msgspec.structs.replace(
        found,
        state=one["state"],
        reason=one["reason"],
        is_whole=current.exists() and current.read_bytes() == path.read_bytes(),
    )
    if done.code or found.state != "COMMITTED" or not found.is_whole:
        why = f"{found.state} ({found.reason}) {one.get('detail', '')} {done.said[-300:]}"
        return _with_problem(found, f"is refused by the device after a silent release: {why}")
    return found


def _name_command(config: Path) -> None:
    """Do what the owner of a device does who has a program for the model's format."""
    command = json.dumps([sys.executable, str(OWNER_COMMAND)])
    with config.open("a") as file:
        file.write(f"\n[formats.opaque]\ncommand = {command}\n")


# --- damaged copies ---------------------------------------------------------------------------


def _damaged(found: Journey, model: ZooModel, path: Path, folder: Path) -> Journey:
    given = f"{_file_name(model)}={path}"
    options = [*model.options, *model.golden]
    if "--samples" not in options:
        options += ["--seed", GOLDEN_SEED]
    request = request_of([str(folder / "repo"), model.name, "2", given, *options])
    built = build_release(Store(folder / "golden"), request, time.time())
    golden, is_told = built.folder, any(SAYS_LITTLE in text for text in built.warnings)
    good = _probe(golden, golden.files_dir)
    verdicts = {
        what: str(_probe(golden, _slot_with(data, golden, folder / what)).reason)
        for what, data in damaged(path.read_bytes(), model.layer).items()
    }
    found = msgspec.structs.replace(found, good=str(good.reason), damaged=verdicts, is_told=is_told)
    if not good.passed:
        found = _with_problem(found, f"with golden samples: {good.reason} {good.detail}")
    if is_told != model.says_little:
        found = _with_problem(found, f"samples that show no damage: is {is_told} to the release")
    for what, reason in verdicts.items():
        if reason == "passed" and not is_told:
            found = _with_problem(found, f"with {what} it is accepted")
    return found


def request_of(arguments: Sequence[str]) -> ReleaseRequest:
    """Give what `slotcast release ARGUMENTS` asks for.

    Raises:
        RuntimeError: it asks for nothing that can be.
    """
    taken: list[ReleaseRequest] = []

    class Recorder:
        def build_release(self, request: ReleaseRequest, **_: object) -> object:
            taken.append(request)
            raise SystemExit(0)

    with patch.object(releases, "open_repository", lambda _: Recorder()):
        result = CliRunner().invoke(cli.app, ["release", *arguments])
    if not taken:
        raise RuntimeError(result.output)
    return taken[0]


def _slot_with(data: bytes, golden: ReleaseFolder, folder: Path) -> Path:
    """Make a slot as a device has it: the release's files, with another model in its place."""
    folder.mkdir()
    release = golden.load()
    for file in release.files:
        (folder / file.path).write_bytes((golden.files_dir / file.path).read_bytes())
    (folder / release.entry).write_bytes(data)
    return folder


def _probe(golden: ReleaseFolder, slot: Path) -> ProbeResult:
    release = golden.load()
    return run_probe(
        ProbeRequest(
            candidate=SlotModel(str(slot.absolute()), release.entry, format=release.runtime.format),
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
    )
