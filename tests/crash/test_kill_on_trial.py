"""kill -9 of agent, application, the probe's child, and all at once: in probe, switch and trial.

SLOTCAST_KILLS=500 makes it more; SLOTCAST_SEED=N repeats the moments (not, of course, what the
machine does in between).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil
import pytest

from slotcast_device.application.app_report import read_reports
from slotcast_device.core.state import ModelState, Update
from slotcast_device.exit_codes import ENDED_OTHERWISE, OK
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.states import State
from tests.crash.serving import Service
from tests.support import models
from tests.support.application import key_of
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher, answers
from tests.support.fleet_fixtures import SHORT_LOOKS, new_prefix
from tests.support.quick import QuickProcess
from tests.support.unchecked import release_unchecked
from tests.support.waiting import WAIT_S, wait_until

KILLS: Final = int(os.environ.get("SLOTCAST_KILLS", "8"))
SEED: Final = int(os.environ.get("SLOTCAST_SEED", "20261122"))
GOOD: Final = (models.classifier(1), models.classifier(2))
_VICTIMS: Final = {
    "probe": ("agent", "application", "child", "all"),
    "switch": ("agent", "application", "all"),
    "trial": ("agent", "application", "all"),
}
SOON: Final = {
    "slotcast_device.application.liveness.GONE_AFTER_S": 1.0,
    "slotcast_device.trial.watcher.CALM_LEAST_S": 1.0,
}
"""A trial waits until it knows of each process whether it lives, and until no restart is fresh."""
_REQUESTS: Final = re.compile(r"(\d+) of 1 requests, ")
"""What the status of a trial begins with: how many requests the agent saw come to the release."""
_SWITCH_S: Final = 0.003
_TRIAL_S: Final = 1.0
"""How long after its beginning a moment of each stage may lie; of the probe, it is measured."""

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300 + 15 * KILLS)]


class Stand:
    """A device with v1 committed, its application, and who reads its status."""

    def __init__(self, publisher: Publisher, device: Device, observer: Observer) -> None:
        self.publisher = publisher
        self.device = device
        self.observer = observer
        self.service = Service(device.current().parent, [key_of(model) for model in GOOD])
        self.log = device.config_path.with_name("log.txt")

    def agent(self, *arguments: str) -> QuickProcess:
        """Start the agent."""
        words = ("run", *arguments, "--log", "warning", "--config", str(self.device.config_path))
        return QuickProcess(words, self.log, SOON)

    def offer(self, trial: Trial) -> None:
        """Publish v2, a good one."""
        release_unchecked(
            self.publisher,
            "2",
            GOOD[1],
            trial=trial,
            max_latency_ratio=None,
            taken_for=GOOD[1],
        )
        self.publisher.publish("clf", "2")

    @property
    def update(self) -> Update | None:
        """The durable record's update, as it is now."""
        data = (self.device.folder() / "state.json").read_bytes()
        return msgspec.json.decode(data, type=ModelState).update

    def is_in(self, *states: State) -> bool:
        """Whether the record says that v2 is in one of these states."""
        update = self.update
        return update is not None and update.version == "2" and update.state in states

    def serves(self, number: int) -> bool:
        """Whether what `current` opens answers as that version does."""
        return np.array_equal(self.device.answers(), answers(GOOD[number - 1]))

    def check(self, where: str) -> None:
        """Whatever happened: one good model, whole, through `current`; nobody saw another."""
        assert self.serves(1) or self.serves(2), where
        assert self.service.harm == (0, 0), where


@pytest.fixture
def stand(broker: Broker, tmp_path: Path) -> Iterator[Stand]:
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    release_unchecked(publisher, "1", GOOD[0], taken_for=GOOD[0])
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    assert device.run_once().state is State.COMMITTED
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        made = Stand(publisher, device, observer)
        made.service.start()
        try:
            made.service.wait_for_answers(5)
            yield made
        finally:
            made.service.kill()


def test_whatever_is_killed_in_probe_switch_and_trial_one_good_model_serves_and_the_end_is_told(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.offer(Trial(duration_s=1.5, min_requests=20, max_restarts=1000, max_latency_ratio=None))
    before = tmp_path / "with-v1"
    stand.service.kill()  # its reports come and go, and a copy would meet one half way
    shutil.copytree(stand.device.config.state_dir, before, symlinks=True)
    stand.service.start()
    ordeal = Ordeal(stand, random.Random(SEED), before)
    ordeal.measure()
    while ordeal.kills.total() < KILLS or not ordeal.has_met_all:
        ordeal.update()
    with capsys.disabled():
        print(f"\n{dict(ordeal.kills)}; found in {dict(ordeal.found)}")


class Ordeal:
    """Updates to v2 with a kill in each stage; all ends in v2 committed, and says so."""

    def __init__(self, stand: Stand, rng: random.Random, with_v1: Path) -> None:
        self.kills: Counter[tuple[str, str]] = Counter()
        self.found: Counter[State] = Counter()
        self._stand = stand
        self._rng = rng
        self._with_v1 = with_v1
        self._window_s = {"switch": _SWITCH_S, "trial": _TRIAL_S}
        self._agent: QuickProcess | None = None
        self._restarts = 0
        self._deaths = 0
        self._left: dict[str, list[str]] = {stage: [] for stage in _VICTIMS}

    @property
    def has_met_all(self) -> bool:
        """Whether each possible victim was killed, in a probe as on trial, at least once."""
        victims = {victim for _, victim in self.kills}
        return victims == {*_VICTIMS["probe"]} and {State.VERIFIED, State.TRIAL} <= {*self.found}

    def measure(self) -> None:
        """Learn how long a probe takes here, from an update that nobody disturbs."""
        self._agent = self._stand.agent("--once")
        assert self._is_reached("probe")
        began_s = time.monotonic()
        wait_until(lambda: not self._stand.is_in(State.VERIFIED), "the probe ends")
        self._window_s["probe"] = 0.8 * (time.monotonic() - began_s)
        self._end()

    def update(self) -> None:
        """Take v2 once, with a kill in each stage."""
        self._agent = self._stand.agent("--once")
        for stage in _VICTIMS:
            self._kill_in(stage)
        self._end()

    def _end(self) -> None:
        """Whatever was killed: v2 is committed, its status says how it came, v1 is put back."""
        stand = self._stand
        assert self._agent is not None
        assert self._agent.wait(WAIT_S) == OK, self._told()
        status = stand.observer.wait_for_state("clf", State.COMMITTED, "2")
        assert status.active is not None
        assert status.evidence is not None
        assert (status.active.version, status.floor, status.benched) == ("2", 2, ())
        (restarts,) = [c for c in status.evidence.checks if c.name == "restarts"]
        # An agent that dies before it has looked at the disk leaves no trace, so not all count.
        where = f"seed {SEED}, {self.kills}"
        assert restarts.value is not None
        assert restarts.value >= min(1, self._restarts), where
        assert restarts.value <= self._restarts + self._deaths, where
        assert stand.serves(2)
        stand.service.wait_for_answers(5)
        stand.check(where)
        stand.service.kill()
        shutil.rmtree(stand.device.config.state_dir)
        shutil.copytree(self._with_v1, stand.device.config.state_dir, symlinks=True)
        stand.observer.forget()
        stand.service.start()
        self._restarts = self._deaths = 0

    def _told(self) -> str:
        """What agent and observer saw, for a failure."""
        seen = [f"{m.state.name} {m.reason} {m.detail}" for m in self._stand.observer.of("clf")]
        return "\n".join([self._stand.log.read_text(), *seen, f"seed {SEED}, {self.kills}"])

    def _kill_in(self, stage: str) -> None:
        if not self._is_reached(stage):
            return  # it went by while what was killed before came back
        delay_s = self._rng.uniform(0, self._window_s[stage])
        if self._agent is None or self._agent.wait(delay_s) is not None:
            return
        victim = self._next_victim(stage)
        if victim == "child" and not self._kill_child():
            self._left[stage].append(victim)  # the probe was over: next time
            return
        if victim != "child":
            self._kill(victim)
        self.kills[stage, victim] += 1
        self._stand.check(f"seed {SEED}, kill {self.kills.total()}: {victim} in {stage}")

    def _next_victim(self, stage: str) -> str:
        """Each in turn, in an order of chance."""
        if not self._left[stage]:
            self._left[stage] = self._rng.sample(_VICTIMS[stage], len(_VICTIMS[stage]))
        return self._left[stage].pop()

    def _is_reached(self, stage: str) -> bool:
        """Wait for a stage's beginning; false where its end was first."""
        stand = self._stand
        begun = {
            "probe": (State.VERIFIED,),
            "switch": (State.ACTIVATING, State.TRIAL),
            "trial": (State.TRIAL,),
        }[stage]
        wait_until(lambda: stand.is_in(*begun, State.COMMITTED, State.FAILED), f"{stage} begins")
        return stand.is_in(*begun)

    def _kill(self, victim: str) -> None:
        stand, agent = self._stand, self._agent
        if victim in {"agent", "all"} and agent is not None:
            agent.kill()
        if victim in {"application", "all"}:
            stand.service.kill()
        update = stand.update
        assert update is not None
        self.found[update.state] += 1
        stand.check(f"seed {SEED}: {victim} killed")
        if victim in {"agent", "all"}:
            self._restarts += update.state is State.TRIAL
            self._agent = stand.agent("--once")
        if victim in {"application", "all"}:
            self._deaths += 1
            stand.service.start()

    def _kill_child(self) -> bool:
        """Kill the probe's child alone, if one is there before the probe is over."""
        stand = self._stand
        assert self._agent is not None
        agent = psutil.Process(self._agent.pid)
        while stand.is_in(State.VERIFIED):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in agent.children():
                    if "slotcast_schemas.probe.child" in child.cmdline():
                        child.kill()
                        self.found[State.VERIFIED] += 1
                        return True
        return False


def test_an_agent_that_keeps_dying_on_trial_rolls_back_by_itself_at_a_next_start(
    stand: Stand,
) -> None:
    stand.offer(Trial(duration_s=3600.0, min_requests=1, max_restarts=2, max_latency_ratio=None))
    for restarts in (0, 1):
        agent = stand.agent()
        wait_until(lambda: _is_on_trial(stand, restarts), f"trial, {restarts} restarts")  # noqa: B023
        agent.kill()
        assert stand.serves(2)
    stand.observer.forget()
    assert stand.agent("--once").wait(WAIT_S) == ENDED_OTHERWISE, stand.log.read_text()
    status = stand.observer.wait_for_state("clf", State.ROLLED_BACK, "2")
    assert (status.reason, [b.reason for b in status.benched]) == ("restarts", ["restarts"])
    assert stand.serves(1)
    stand.service.wait_for_answers(5)
    stand.check("rolled back")


def _is_on_trial(stand: Stand, restarts: int) -> bool:
    update = stand.update
    return stand.is_in(State.TRIAL) and update is not None and update.restarts == restarts


def test_an_application_that_keeps_dying_on_trial_has_the_release_rolled_back(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_device.application.liveness.GONE_AFTER_S", 1.0)
    # Each look is told: what the agent has seen is known here by its status alone.
    stand.device.waits = msgspec.structs.replace(SHORT_LOOKS, note_first_s=0.1)
    stand.offer(Trial(duration_s=3600.0, min_requests=1, max_restarts=2, max_latency_ratio=None))
    with stand.device.running():
        of_dead = 0
        for _ in range(2):
            _wait_until_seen_alive(stand, of_dead)
            stand.service.kill()
            _wait_for_another_look(stand)
            of_dead = _requests_of_v2(stand)
            stand.service.start()
        status = stand.observer.wait_for_state("clf", State.ROLLED_BACK, "2")
        assert status.reason == "restarts"
        stand.service.wait_for_answers(5)
    assert stand.serves(1)
    stand.check("rolled back")


def _wait_until_seen_alive(stand: Stand, of_dead: int) -> None:
    """Wait until the agent has seen the report of the living application change between looks.

    Only who was seen alive can be seen to end. Each look that counts more has seen a new report.

    Args:
        of_dead: requests to v2 of the applications that were killed.
    """

    def is_seen() -> bool:
        found = (_REQUESTS.match(said.detail) for said in stand.observer.of("clf"))
        return len({count for m in found if m and (count := int(m[1])) > of_dead}) >= 2

    wait_until(is_seen, f"two looks at the living one, which counts from {of_dead} requests on")


def _wait_for_another_look(stand: Stand) -> None:
    """Wait until the agent has looked again, so that who starts next began after who ended.

    Of one that ended and one that began between the same two looks nobody can tell the order.
    """
    told = len({said.detail for said in stand.observer.of("clf")})
    wait_until(
        lambda: len({said.detail for said in stand.observer.of("clf")}) >= told + 2,
        "two more looks, each of which tells for how long the trial has run",
    )


def _requests_of_v2(stand: Stand) -> int:
    """Requests in the reports of all applications that served the release on trial."""
    update = stand.update
    assert update is not None
    reports = read_reports(stand.device.folder() / "app").reports
    return sum(report.requests or 0 for report in reports if report.slot == update.slot)
