"""The owner's say and the owner's hand: hooks, consent, windows, rollback, unbench."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from slotcast_device.core.waits import Waits
from slotcast_device.exit_codes import OK
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Process, Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.unchecked import STAND_IN, release_unchecked
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

NEXT = models.classifier(1, drift=1e-5)


@pytest.fixture
def publisher(broker: Broker, tmp_path: Path) -> Publisher:
    """A repository with v1 published, and v2 ready."""
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    publisher.waits = Waits(owner_again_s=0.1)
    release_unchecked(publisher, "1", STAND_IN)
    release_unchecked(publisher, "2", NEXT, max_latency_ratio=None)
    publisher.publish("clf", "1")
    return publisher


class Hooks:
    """The hooks folder of a device: each hook logs its call and answers as a file says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def write(self, stage: str, code: int) -> None:
        """Have a stage's hook answer with an exit code, from the next call on."""
        answer = self.folder / f"{stage}.answer"
        temporary = answer.with_suffix(".tmp")
        temporary.write_text(str(code))
        temporary.replace(answer)
        hook = self.folder / stage
        if not hook.exists():
            hook.write_text(
                "#!/bin/sh\n"
                f'echo "$SLOTCAST_STAGE $SLOTCAST_VERSION $SLOTCAST_SEQUENCE" >> {self._log}\n'
                'echo "the line is busy"\n'
                f"exit $(cat {answer})\n"
            )
            hook.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """Stage, version and sequence of each call, in order."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    @property
    def _log(self) -> Path:
        return self.folder / "calls.txt"


def with_v1(publisher: Publisher, folder: Path, owner: str) -> Device:
    """A device with v1 committed, that asks its owner from then on."""
    device = publisher.provision("cam-1", folder)
    assert device.run_once().state is State.COMMITTED
    with device.config_path.open("a") as file:
        file.write(owner)
    return device


# --- hooks ----------------------------------------------------------------------------------------


def test_hooks_let_an_update_wait_go_on_and_are_told_of_its_end(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    hooks = Hooks(tmp_path / "hooks")
    device = with_v1(publisher, tmp_path / "cam-1", f'\n[update]\nhooks = "{hooks.folder}"\n')
    hooks.write("before-download", 3)
    hooks.write("before-switch", 3)
    hooks.write("after-commit", 0)
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
        status = observer.wait_for_reason("clf", "hook")
        assert (status.state, status.detail) == (State.QUEUED, "the line is busy")
        assert not list((device.folder() / "incoming").glob("*")), "nothing is fetched yet"
        hooks.write("before-download", 0)
        observer.wait_for(
            "clf", lambda m: (m.state, m.reason) == (State.VERIFIED, "hook")
        )  # fetched and probed, and now it waits to switch
        assert device.current().read_bytes() == STAND_IN
        waits = hooks.calls.count("before_switch 2 2")
        wait_until(lambda: hooks.calls.count("before_switch 2 2") > waits, "it is asked again")
        assert device.current().read_bytes() == STAND_IN
        hooks.write("before-switch", 0)
        observer.wait_for_state("clf", State.COMMITTED, "2")
        wait_until(lambda: "after_commit 2 2" in hooks.calls, "the end is told")
    assert device.current().read_bytes() == NEXT
    stages = list(dict.fromkeys(call.split()[0] for call in hooks.calls))
    assert stages == ["before_download", "before_switch", "after_commit"]


def test_a_hook_that_refuses_ends_the_update_before_a_byte_is_fetched(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    hooks = Hooks(tmp_path / "hooks")
    device = with_v1(publisher, tmp_path / "cam-1", f'\n[update]\nhooks = "{hooks.folder}"\n')
    hooks.write("before-download", 4)
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
        status = observer.wait_for_state("clf", State.REJECTED, "2")
        assert (status.reason, status.detail) == ("hook_refused", "the line is busy")
    assert State.DOWNLOADING not in {m.state for m in observer.of("clf")}
    assert device.current().read_bytes() == STAND_IN
    assert set(hooks.calls) == {"before_download 2 2"}


def test_a_broken_hook_keeps_an_update_waiting_until_it_is_mended(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    hooks = Hooks(tmp_path / "hooks")
    device = with_v1(publisher, tmp_path / "cam-1", f'\n[update]\nhooks = "{hooks.folder}"\n')
    hooks.write("before-switch", 1)
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
        status = observer.wait_for_reason("clf", "hook_failed")
        assert "expected exit code 0, 3 or 4, got 1" in status.detail
        assert device.current().read_bytes() == STAND_IN
        hooks.write("before-switch", 0)
        observer.wait_for_state("clf", State.COMMITTED, "2")


# --- consent and windows --------------------------------------------------------------------------


def test_an_update_waits_for_the_consent_to_just_this_version(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    consent = tmp_path / "consent.txt"
    consent.write_text("1\n")  # to the one before: it says nothing about 2
    device = with_v1(publisher, tmp_path / "cam-1", f'\n[update]\nconsent = "{consent}"\n')
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
        status = observer.wait_for_reason("clf", "consent")
        assert status.state is State.QUEUED
        assert "write '2' to" in status.detail
        consent.write_text("1 2\n")
        observer.wait_for_state("clf", State.COMMITTED, "2")
    assert device.current().read_bytes() == NEXT


def test_an_update_waits_for_its_window_and_is_taken_once_it_is_open(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    later = datetime.now().astimezone() + timedelta(hours=3)
    closed = f"{later:%H}:00-{later:%H}:01"
    device = with_v1(publisher, tmp_path / "cam-1", f'\n[update]\nwindows = ["{closed}"]\n')
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        with device.running():
            status = observer.wait_for_reason("clf", "window")
            assert status.state is State.QUEUED
            assert "the next update window opens in" in status.detail
        assert device.current().read_bytes() == STAND_IN
        device.change(closed, "00:00-24:00")
        with device.running():
            observer.wait_for_state("clf", State.COMMITTED, "2")
    assert device.current().read_bytes() == NEXT


# --- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_running", [True, False], ids=["agent runs", "agent does not run"])
def test_a_person_goes_back_by_hand_and_then_lets_the_release_be_tried_again(
    publisher: Publisher, broker: Broker, tmp_path: Path, is_running: bool
) -> None:
    device = with_v1(publisher, tmp_path / "cam-1", "")
    publisher.publish("clf", "2")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        agent = device.spawn()
        try:
            observer.wait_for_state("clf", State.COMMITTED, "2")
            if not is_running:
                stop(agent)
            said = command(device, "rollback")
            assert ("the running agent was asked" in said) == is_running, said
            wait_until(lambda: device.current().read_bytes() == STAND_IN, "1 serves again")
            if not is_running:
                assert "clf: ROLLED_BACK (by_hand)" in said
                agent = device.spawn()
            status = observer.wait_for_state("clf", State.ROLLED_BACK)
            assert status.reason == "by_hand"
            assert [(b.version, b.reason) for b in status.benched] == [("2", "by_hand")]
            observer.forget()
            if not is_running:
                stop(agent)
            command(device, "unbench")
            if not is_running:
                agent = device.spawn()
            status = observer.wait_for_state("clf", State.COMMITTED, "2")
            assert status.benched == ()
        finally:
            stop(agent)
    assert device.current().read_bytes() == NEXT


@pytest.mark.parametrize("is_running", [True, False], ids=["agent runs", "agent does not run"])
def test_a_person_sets_the_device_back_and_updates_wait_until_they_are_resumed(
    publisher: Publisher, broker: Broker, tmp_path: Path, is_running: bool
) -> None:
    release_unchecked(publisher, "3", models.classifier(1, drift=2e-5), max_latency_ratio=None)
    device = with_v1(publisher, tmp_path / "cam-1", "")
    for version in ("2", "3"):
        publisher.publish("clf", version)
        assert device.run_once().state is State.COMMITTED
    assert "original  1, as provisioned" in command(device, "status")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        agent = device.spawn()
        try:
            assert device.command("ping", "--timeout", "120").wait() == OK, "it is up"
            if not is_running:
                stop(agent)
            said = command(device, "reset-to-provisioned")
            assert ("the running agent was asked" in said) == is_running, said
            wait_until(lambda: device.current().read_bytes() == STAND_IN, "1 serves again")
            if not is_running:
                agent = device.spawn()
            held = (State.QUEUED, "set_back")
            status = observer.wait_for("clf", lambda m: (m.state, m.reason) == held)
            assert (status.floor, status.provisioned) == (3, "1")
            observer.forget()
            command(device, "resume")
            observer.wait_for_state("clf", State.COMMITTED, "3")
        finally:
            stop(agent)


def stop(agent: Process) -> None:
    """Ask the agent to stop, and see that it does."""
    agent.terminate()
    assert agent.wait() == OK, agent.stderr


def command(device: Device, word: str) -> str:
    """Run a command of `slotcast-device` and give what it says."""
    process = device.command(word)
    assert process.wait() == OK, process.stderr
    return process.stdout
