"""The command line: exit codes and JSON keys that programs rely on (docs/cli.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.cli import app, exit_code
from slotcast_publisher.cli.publishing import _groups
from slotcast_publisher.errors import Conflict
from slotcast_publisher.repository import Repository
from slotcast_schemas import errors
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.offer import Group
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    fields: dict[str, Any] = json.loads(result.stdout)
    return fields


def test_every_command_gives_the_keys_that_are_documented(
    repo: Repository, model_file: Path, tmp_path: Path
) -> None:
    made = run("init", tmp_path / "new", "--no-passphrase", "--broker", "mqtt://127.0.0.1:1")
    assert set(made) == documented("init")
    released = run("release", tmp_path / "new", "clf", "1.0", model_file)
    assert set(released) == documented("release")
    out = tmp_path / "out"
    assert set(run("provision", tmp_path / "new", "d", out, "--model", "clf")) == documented(
        "provision"
    )
    assert set(run("list", tmp_path / "new")) == documented("list")
    assert set(run("delta", model_file, model_file)) == documented("delta")
    assert set(run("keys", "list", tmp_path / "new")) == documented("keys list")
    assert set(run("keys", "rotate", tmp_path / "new", "targets")) == documented("keys rotate")
    assert set(run("keys", "separate", tmp_path / "new")) == documented("keys separate")
    assert set(run("keys", "floor", tmp_path / "new", "clf")) == documented("keys floor")
    added = run("keys", "add", tmp_path / "new", "root")
    assert set(added) == documented("keys add")
    assert set(run("keys", "revoke", tmp_path / "new", added["key"][:12])) == documented(
        "keys revoke"
    )
    request = DeviceIdentity(Ed25519PrivateKey.generate()).make_request("d")
    (tmp_path / "request").write_bytes(write_enrolment(request))
    enrolled = run("devices", "enrol", tmp_path / "new", tmp_path / "request")
    assert set(enrolled) == documented("devices enrol")
    assert run("devices", "list", tmp_path / "new")["devices"] == [
        {key: value for key, value in enrolled["devices"][0].items() if key != "is_new"}
    ]
    assert set(run("recipients", "list", tmp_path / "new", "clf")) == documented("recipients list")
    always = run("recipients", "always", tmp_path / "new", "clf")
    assert set(always) == documented("recipients add")
    assert always["always"]
    assert set(run("devices", "remove", tmp_path / "new", "d")) == documented("devices remove")
    assert run("devices", "list", tmp_path / "new") == {"devices": []}
    (tmp_path / "n").write_bytes(repo.offer("clf", "1.0"))
    (tmp_path / "root.json").write_bytes(repo.roles.root_bytes())
    inspected = run("inspect", tmp_path / "n", "--root", tmp_path / "root.json")
    assert set(inspected) == documented("inspect")
    assert inspected["verdict"] == "verified"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "nowhere"], 1, "slotcast init"),
        (["release", "{repo}", "clf", "one", "{model}"], 2, "PEP 440"),
        (["release", "{repo}", "clf", "2.0", "nofile"], 2, "nofile"),
        (["publish", "{repo}", "clf", "1.0"], 2, "no broker"),
        (["publish", "{repo}", "clf", "1.0", "--broker", "mqtt://127.0.0.1:1"], 3, "127.0.0.1:1"),
        (["release", "{repo}"], 2, "Missing argument"),
        (["inspect", "{model}"], 1, "notice"),
        (["publish", "{repo}", "clf", "1.0", "--jitter-s", "-1"], 2, "jitter_s: expected a whole"),
        (["publish", "{repo}", "clf", "1.0", "--deployment", "x" * 65], 2, "at most 64 characters"),
        (["publish", "{repo}", "clf", "1.0", "mqtt://cam:Blue9@h"], 2, "(mqtt://***@h)"),
        (
            ["release", "{repo}", "clf", "2.0", "{model}", "--min-requests", "-1"],
            2,
            "--trial-min-requests: trial.min_requests: expected a whole number of at least 0",
        ),
        (["init", "made", "--no-passphrase", "--broker", "mqtt://a b"], 2, "percent-encode"),
    ],
)
def test_errors_are_one_line_with_the_code_of_who_must_act(
    repo: Repository, model_file: Path, arguments: list[str], code: int, said: str
) -> None:
    filled = [a.format(repo=repo.path, model=model_file) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "slotcast_publisher", *filled],
        capture_output=True,
        text=True,
        cwd=repo.path.parent,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (repo.path.parent / "made").exists()


def test_every_family_of_errors_has_its_exit_code() -> None:
    assert exit_code(Conflict()) == exit_code(errors.ModelUnloadable()) == 1
    assert exit_code(errors.UsageError()) == 2
    assert exit_code(errors.LinkDown()) == exit_code(errors.BrokerRefused()) == 3
    assert exit_code(errors.DiskFull()) == exit_code(errors.StateLocked()) == 4


def test_groups_are_read_as_documented() -> None:
    spec = "canary,state=paused,percent=12.5,salt=s,tag:site=north,tag:arch=arm,id=a,id=b"
    assert _groups([spec, "rest"], None, {}, None, everyone=False) == (
        Group(
            name="canary",
            state="paused",
            percent=12.5,
            salt="s",
            tags={"site": "north", "arch": "arm"},
            ids=("a", "b"),
        ),
        Group(name="rest"),
    )
    assert _groups(None, 10, {}, None, everyone=False) == (Group(name="selected", percent=10),)
    assert _groups(None, None, {}, None, everyone=False) is None


@pytest.mark.parametrize(
    "spec", ["a,percent=200", "a,percent=x", "a,what=1", "a,id", "a,id=../x", "a,state=gone"]
)
def test_a_group_that_cannot_be_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=r"group|percent"):
        _groups([spec], None, {}, None, everyone=False)
