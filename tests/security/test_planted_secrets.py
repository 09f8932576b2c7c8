"""Known passwords are put wherever one can be; all that is printed, logged and kept is searched.

First without the net below a command's output (`redact`): what our own code says never has one.
Then the net, for what others say. Then a device and `serve` at a real broker.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slotcast_device.access_check import configuration_problems
from slotcast_device.config import DeviceConfig
from slotcast_publisher.cli import app
from slotcast_publisher.delivery.broker_check import check_password
from slotcast_publisher.fleet.client.connection import Connection
from slotcast_publisher.fleet.database.connect import name_of, url_of
from slotcast_publisher.fleet.steering.delta_maker import ChildDeltaMaker
from slotcast_publisher.fleet.steering.gates import ask_command
from slotcast_publisher.fleet.web.child import PageChild
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings
from slotcast_schemas.broker import BrokerAddress
from slotcast_schemas.environment import SECRETS
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.redact import has_password, hide_passwords
from slotcast_schemas.states import State
from tests.support.brokers import Broker as RealBroker
from tests.support.cli_runner import CliRunner
from tests.support.fleet import Device, Observer, Publisher
from tests.support.serving import Served
from tests.support.watching import watching

SECRET = "Harbor9-kiosk-Blue"
URL = f"cam:{SECRET}@127.0.0.1"


def found_in(paths: Iterable[Path]) -> list[str]:
    """Name the files that hold the secret."""
    return [str(p) for p in paths if p.is_file() and SECRET.encode() in p.read_bytes()]


# --- what our own code says -----------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository whose broker and webhook have the secret in their addresses."""
    path = tmp_path / "repo"
    Repository.init(path, Settings(brokers=(Broker(url=f"mqtt://{URL}:1"),)))
    text = (path / "slotcast.toml").read_text()
    hook = f'\n[alarms.webhook]\nurl = "https://hooks.example/services/{SECRET}"\n'
    (path / "slotcast.toml").write_text(text + hook)
    return path


REPO = "REPO"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("config", "list", REPO),
    ("config", "list", REPO, "--json"),
    ("config", "get", REPO, "brokers[0].url"),
    ("config", "get", REPO, "alarms.webhook.url", "--json"),
    ("config", "get", REPO, "alarms.webhook.url"),
    ("config", "set", REPO, "brokers[0].url", f"mqtt://{URL}:99999"),
    ("config", "set", REPO, "alarms.webhook.url", f"https://{URL}/hook"),
    ("list", REPO),
    ("keys", "list", REPO),
    ("check", REPO),
    ("check", "--broker", f"tcp://{URL}"),
    ("check", "--broker", f"mqtt://{URL}:1", "--json"),
    ("publish", REPO, "clf", "1", "--broker", f"mqtt://cam:{SECRET}#@h"),
    ("inspect", "--broker", f"mqtt://{URL}:1", "--model", "clf"),
    ("provision", REPO, "d", "OUT", "--model", "clf", "--broker", f"mqtt:{URL}"),
    ("fleet", "--server", f"https://{URL}"),
    ("fleet", "--server", f"ftp://{URL}"),
    ("fleet", "--server", URL),
    ("fleet", "--server", f"https://h/?token={SECRET}"),
    ("fleet", REPO, "--database", f"postgresql://{URL}:1/fleet"),
    ("fleet", REPO, "--database", f"postgresql://{URL}:1"),
    ("fleet", REPO, "--database", f"mysql://{URL}/x"),
    ("fleet", REPO, "--database", f"postgresql://h:x/{SECRET}@"),
    ("fleet", REPO, "--database", f"postgresql://127.0.0.1:1/fleet?password={SECRET}"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
def test_no_command_repeats_a_password_even_without_the_net(
    repo: Path, tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOTCAST_TOKEN", SECRET)
    places = {REPO: str(repo), "OUT": str(tmp_path / "out")}
    done = CliRunner().invoke(app, [places.get(word, word) for word in command])
    said = done.output + (done.stderr or "")
    if isinstance(done.exception, SlotcastError):
        said += str(done.exception)
    assert said.strip(), "nothing was said that could be looked at"
    assert SECRET not in said
    assert "cam:" not in said
    kept = [p for p in repo.rglob("*") if p.name != "slotcast.toml"]
    assert found_in(kept) == []


@pytest.mark.parametrize(
    "thing",
    [
        BrokerAddress.parse(f"mqtts://{URL}"),
        Broker(url=f"mqtt://{URL}"),
        Settings(brokers=(Broker(url=f"mqtt://{URL}"),)),
        name_of(url_of(f"postgresql://{URL}/fleet?password={SECRET}")),
        url_of(f"postgresql://{URL}/fleet"),
    ],
)
def test_what_a_traceback_could_show_has_no_password(thing: object) -> None:
    assert SECRET not in repr(thing) + str(thing) + f"{thing}"


def test_a_page_is_asked_at_no_address_with_a_password() -> None:
    with pytest.raises(UsageError, match="SLOTCAST_TOKEN") as refused:
        Connection(f"https://{URL}", "t")
    assert SECRET not in str(refused.value)


# --- the net --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://h/db?user=u&password=s3c&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        (r"host=h password='s 3\' c' dbname=d", "host=h password=*** dbname=d"),
        ("GET /x?access_token=abc&y=2", "GET /x?access_token=***&y=2"),
        ("SLOTCAST_TOKEN=abc slotcast fleet", "SLOTCAST_TOKEN=*** slotcast fleet"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic YWJj'}", "{'authorization': 'Basic ***'}"),
        ("amqps://a:b@h and tcp://c:d@h", "amqps://***@h and tcp://***@h"),
        ("no file http:/a:b@h/fleet.db", "no file http:/***@h/fleet.db"),
        ("no command mqtts:a:b@h", "no command mqtts:***@h"),
        ("mqtt: nobody answers; write to a@b", None),
        ("expected mqtt://[USER:PASSWORD@]HOST", None),
        ("secret_file = 'x', a password of 12 characters", None),
        ("topic=a/b, tokens=3, bearer of news", None),
    ],
)
def test_the_net_takes_out_what_others_say(text: str, hidden: str | None) -> None:
    assert hide_passwords(text) == (text if hidden is None else hidden)


@pytest.mark.parametrize("password", ["s3cret", 's3"cr\\et', "s3@cr/et", "s3\ncret", "s3', \"cr"])
@pytest.mark.parametrize("indent", [None, 1])
def test_the_net_leaves_json_what_it_is(password: str, indent: int | None) -> None:
    """An address ends with its string; a later `@` of the line, of an author, say, stays."""
    word = password.split(maxsplit=1)[0]
    said = {
        "url": f"mqtt://cam:{password}@h:1",
        "default": None,
        f"mqtts://u:{password}@k": [
            f"postgresql://u:{word}@h/db",
            "ann@example.org",
        ],
        "meaning": "Where: `mqtt://[USER:PASSWORD@]HOST[:PORT]`, by ann@example.org.",
    }
    shown = hide_passwords(json.dumps(said, indent=indent) + "\n")
    assert json.loads(shown) == {
        "url": "mqtt://***@h:1",
        "default": None,
        "mqtts://***@k": ["postgresql://***@h/db", "ann@example.org"],
        "meaning": said["meaning"],
    }


@pytest.mark.parametrize("before", ["{", "[", '{"a": 1} '])
def test_what_only_begins_as_json_keeps_no_password(before: str) -> None:
    assert hide_passwords(before + 'mqtt://cam:a"s3cret@h') == before + "mqtt://***@h"


WRONGLY_WRITTEN = {
    "a text for the list": f'brokers = "{URL}"',
    "a text for a table": f'brokers = ["{URL}"]',
    "one with half a scheme": f'brokers = ["mqtts:{URL}"]',
    "a list for the address": f'brokers = [{{url = ["{URL}"]}}]',
    "no scheme": f'brokers = [{{url = "{URL}"}}]',
}
"""A broker in a configuration, where nothing marks the password as one."""


@pytest.mark.parametrize("line", WRONGLY_WRITTEN.values(), ids=WRONGLY_WRITTEN)
def test_an_address_in_the_wrong_place_of_a_configuration_is_not_repeated(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.toml").write_text(f'format = 1\ndevice = "d"\nmodels = ["m"]\n{line}\n')
    with pytest.raises(UsageError) as of_device:
        DeviceConfig(tmp_path / "device.toml")
    Repository.init(tmp_path / "repo", Settings())
    path = tmp_path / "repo" / "slotcast.toml"
    lines = [kept for kept in path.read_text().splitlines() if "brokers" not in kept]
    path.write_text("\n".join([line, *lines]))
    with pytest.raises(SlotcastError) as of_publisher:
        _ = Repository(tmp_path / "repo").settings
    for raised in (of_device, of_publisher):
        assert "brokers" in str(raised.value)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize("name", ["slotcast_publisher", "slotcast_device"])
def test_a_password_among_the_arguments_is_warned_of_and_not_repeated(name: str) -> None:
    """Whatever the option: the parser repeats what it does not understand."""
    done = subprocess.run(
        [sys.executable, "-m", name, "check", f"--brokre=mqtt://{URL}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 2
    assert "warning: an argument holds a password" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert not has_password("mqtt://cam@h:1883")


# --- found by `check` -----------------------------------------------------------------------------


def configured(folder: Path, url: str, mode: int = 0o600) -> DeviceConfig:
    (folder / "root.json").write_bytes(b"{}")
    path = folder / "device.toml"
    path.write_text(
        f'format = 1\ndevice = "cam-1"\nroot = "root.json"\nstate_dir = "state"\nmodels = ["clf"]\n'
        f'[[brokers]]\nurl = "{url}"\n'
    )
    path.chmod(mode)
    return DeviceConfig(path)


@pytest.mark.parametrize(
    ("url", "mode", "said"),
    [
        (f"mqtt://cam:{SECRET}@broker.example", 0o600, "goes over the network as it is"),
        (f"mqtt://cam:{SECRET}@192.0.2.7", 0o600, "goes over the network as it is"),
        (f"mqtts://cam:{SECRET}@broker.example", 0o644, "can be read by every user"),
        (f"mqtt://cam:{SECRET}@[::1]", 0o600, ""),
        (f"mqtts://cam:{SECRET}@broker.example", 0o600, ""),
        ("mqtt://broker.example", 0o644, ""),
    ],
)
def test_the_device_finds_a_password_that_others_can_read(
    tmp_path: Path, url: str, mode: int, said: str
) -> None:
    problems = " ".join(configuration_problems(configured(tmp_path, url, mode)))
    assert said in problems if said else not problems
    assert SECRET not in problems


@pytest.mark.parametrize(
    ("url", "mode", "count"),
    [
        (f"mqtt://cam:{SECRET}@broker.example", 0o644, 2),
        (f"mqtts://cam:{SECRET}@broker.example", 0o640, 1),
        (f"mqtt://cam:{SECRET}@localhost", 0o600, 0),
        ("mqtt://broker.example", 0o644, 0),
    ],
)
def test_the_publisher_finds_a_password_that_others_can_read(
    tmp_path: Path, url: str, mode: int, count: int
) -> None:
    file = tmp_path / "slotcast.toml"
    file.write_text("")
    file.chmod(mode)
    found = check_password(Broker(url=url), file)
    assert [(c.name, c.result) for c in found] == [("password", "limited")] * count
    assert SECRET not in repr(found)


# --- a device and serve at a broker ---------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_nothing_that_a_device_or_serve_says_or_keeps_has_the_password(
    publisher: Publisher,
    broker: RealBroker,
    observer: Observer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    port = broker.port
    secretive = publisher.copy(
        tmp_path / "other", f"mqtt://{URL}:{port}", prefix=publisher.topics.prefix
    )
    device = secretive.provision("cam-1", tmp_path / "cam-1", f"mqtt://{URL}:{port}")
    with watching(secretive.path) as watched:
        secretive.publish("clf", "1")
        assert device.run_once().state is State.COMMITTED
        watched.wait_for_taken(2)
        said = repr(watched.served.lines)
    said += "".join(map(repr, (*observer.statuses, *observer.presences, observer.metrics)))
    said += caplog.text + told_by_commands(device)
    assert "committed" in said
    assert SECRET not in said
    with contextlib.closing(sqlite3.connect(secretive.path / "fleet.db")) as database:
        rows = "\n".join(database.iterdump())
    assert "cam-1" in rows
    assert SECRET not in rows
    configurations = {device.config_path, secretive.path / "slotcast.toml"}
    kept = [p for p in tmp_path.rglob("*") if p not in configurations]
    assert found_in(kept) == []


def told_by_commands(device: Device) -> str:
    """Give what commands on the device print, also where its broker is gone."""
    device.change(f"mqtt://{URL}:", f"mqtt://{URL}9:")
    said = ""
    for words in (("check", "--json"), ("status", "--json")):
        process = device.command(*words)
        process.wait()
        said += process.stdout + process.stderr
    return said


@pytest.mark.parametrize("name", sorted(SECRETS | {"SLOTCAST_DATABASE", "SLOTCAST_TOKEN"}))
def test_no_child_of_serve_finds_a_secret_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What answers browsers, what a site asks before a group opens, and what reads models."""
    monkeypatch.setenv(name, SECRET)
    started: list[Mapping[str, str]] = []

    class Child(subprocess.Popen[bytes]):
        def __init__(self, arguments: Any, **how: Any) -> None:
            started.append(how.get("env") or os.environ)
            super().__init__(["true"], **how)

    monkeypatch.setattr(subprocess, "Popen", Child)
    ask_command(("true",), {"model": "clf"}, 30.0, threading.Event())
    page = PageChild(tmp_path, None, "127.0.0.1:0", Served().say)
    page.look(0.0)
    page.close()
    deltas = ChildDeltaMaker(cast("Repository", SimpleNamespace(path=tmp_path)), Served().say)
    deltas._begin(("clf", "2", "1"))
    deltas.close()
    assert len(started) == 3
    assert not any(SECRET in environment.values() for environment in started)
