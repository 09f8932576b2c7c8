"""`slotcast certificates`, as a person and as a program call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from slotcast_publisher.cli import app
from slotcast_publisher.errors import NotFound
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from tests.support.certificate_requests import make_csr
from tests.support.cli_docs import run_documented
from tests.support.cli_runner import CliRunner


def run(command: str, *arguments: object) -> dict[str, Any]:
    return run_documented(f"certificates {command}", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Repository.init(tmp_path / "repo").path


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "cam-1.csr"
    path.write_bytes(make_csr("cam-1", key=Ed25519PrivateKey.generate()))
    return path


def test_a_life_from_the_first_command_to_the_last(folder: Path, request_file: Path) -> None:
    made = run("init", folder, "--host", "localhost")
    assert made["hosts"] == ["localhost"]
    assert made["made"]
    assert not run("init", folder)["made"]
    assert Path(run("publisher", folder)["certificate"]).exists()
    signed = run("sign", folder, request_file, "--days", 30)
    assert Path(signed["certificate"]) == request_file.with_suffix(".pem")
    shown = {one["name"]: one for one in run("list", folder)["certificates"]}
    assert set(shown) == {"cam-1", "publisher", "localhost"}
    assert shown["cam-1"]["serial"] == signed["serial"]
    assert shown["cam-1"]["until"] - shown["cam-1"]["from"] == 30 * 86_400 + 3_600
    revoked = run("revoke", folder, "cam-1")["revoked"]
    assert [one["serial"] for one in revoked] == [signed["serial"]]
    listed = run("list", folder)
    assert [bool(one["revoked"]) for one in listed["certificates"]] == [False, True, False]
    assert listed["untold"] == []
    assert run("renew", folder, "--new-key")["hosts"] == ["localhost"]
    assert set(run("refresh", folder)["lists"]) == {"devices", "publishers"}
    assert run("renewals", folder)["made"]
    assert not run("renewals", folder)["made"]
    assert not run("renewals", folder, "--off")["renewals"]


def test_a_person_is_told_who_and_until_when_and_what_is_left_to_do(
    folder: Path, request_file: Path
) -> None:
    run("init", folder, "--host", "localhost")
    run("sign", folder, request_file)
    lines = CliRunner().invoke(app, ["certificates", "list", str(folder)]).stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "brokers", "devices", "list of devices", "list of publishers",
    ]  # fmt: skip
    said = CliRunner().invoke(app, ["certificates", "revoke", str(folder), "cam-1"]).stdout
    assert "counts no more" in said
    assert "SIGHUP" in said


def test_what_cannot_be_done_says_who_must_act(folder: Path, request_file: Path) -> None:
    with pytest.raises(UsageError, match="--host"):
        run("init", folder)
    run("init", folder, "--host", "localhost")
    with pytest.raises(NotFound, match="cam-9"):
        run("revoke", folder, "cam-9")
    with pytest.raises(UsageError, match="could not read"):
        run("sign", folder, folder / "none")
    same = request_file.rename(request_file.with_suffix(".pem"))
    with pytest.raises(UsageError, match="--out"):
        run("sign", folder, same)
    assert b"REQUEST" in same.read_bytes()
    assert len(run("list", folder)["certificates"]) == 1
    with pytest.raises(UsageError, match="devices, publishers, brokers"):
        run("init", folder, "--replace", "root")
    assert run("init", folder, "--replace", "devices", "--replace", "brokers")["made"]


def listeners(folder: Path) -> list[str]:
    lines = (folder / "certificates" / "broker" / "mosquitto.conf").read_text().splitlines()
    return [line for line in lines if line.startswith("listener ")]


def test_a_local_broker_listens_where_it_was_told_and_goes_on_so_when_init_is_run_again(
    folder: Path,
) -> None:
    run("init", folder, "--host", "localhost")
    assert listeners(folder) == ["listener 8883", "listener 8884 127.0.0.1"]
    at = ("--devices-at", "192.0.2.7:1883", "--publishers-at", "1884")
    run("broker", folder, "--no-container", *at)
    assert listeners(folder) == ["listener 1883 192.0.2.7", "listener 1884"]
    run("init", folder, "--replace", "devices")
    assert listeners(folder) == ["listener 1883 192.0.2.7", "listener 1884"]


@pytest.mark.parametrize("port", ["", "mqtts", "0", "65536", "localhost", "localhost:"])
def test_what_is_no_port_is_refused(folder: Path, port: str) -> None:
    run("init", folder, "--host", "localhost")
    with pytest.raises(UsageError, match=r"--devices-at: expected \[ADDRESS:\]PORT"):
        run("broker", folder, "--no-container", "--devices-at", port)


@pytest.mark.parametrize(
    "host",
    ["broker.example:8883", "mqtts://broker.example", "bad host", "b\u00fccher.example", "a."],
)
def test_what_no_client_looks_for_gets_no_certificate(folder: Path, host: str) -> None:
    with pytest.raises(UsageError, match="--host: expected a name or an address"):
        run("init", folder, "--host", host)
    run("init", folder, "--host", "*.broker_1.example", "--host", "::1")
    for command in ("init", "renew"):
        with pytest.raises(UsageError, match="--host: expected a name or an address"):
            run(command, folder, "--host", host)
    hosts = run("init", folder)["hosts"]
    assert hosts == ["*.broker_1.example", "::1"]
