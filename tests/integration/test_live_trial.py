"""Bad models through a real Mosquitto to a real device whose application never stops asking.

What the probe can find out is refused before the switch; what only live traffic shows is rolled
back. Either way the old model answers, and a good one is taken afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from slotcast_device.agent import Agent
from slotcast_device.core.actions import Verdict, Watch
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import Check, ModelStatus
from slotcast_schemas.states import State
from tests.support import models
from tests.support.application import Application, Floats, key_of
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import SHORT_LOOKS, new_prefix
from tests.support.unchecked import STAND_IN, release_unchecked
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(300),
]

LONG = Trial(duration_s=600.0, min_requests=1, max_latency_ratio=None)
"""Ends by a verdict or by hand, never by its time."""


class Bench(NamedTuple):
    """A device with v1 active, its agent, its application, and who watches it."""

    publisher: Publisher
    device: Device
    agent: Agent
    application: Application
    observer: Observer

    def offer(
        self,
        version: str,
        model: bytes,
        *,
        trial: Trial = LONG,
        probe_timeout_s: float = 30.0,
        max_latency_ratio: float | None = None,
        taken_for: bytes = STAND_IN,
    ) -> None:
        """Release a model with the facts of another, and publish it."""
        release_unchecked(
            self.publisher,
            version,
            model,
            trial=trial,
            probe_timeout_s=probe_timeout_s,
            max_latency_ratio=max_latency_ratio,
            taken_for=taken_for,
        )
        self.publisher.publish("clf", version)

    def settled(self, version: str) -> ModelStatus:
        """Wait for the end of the update to a version, as the status topic tells it."""
        ends = {State.COMMITTED, State.FAILED, State.ROLLED_BACK, State.REJECTED}
        return self.observer.wait_for(
            "clf",
            lambda m: m.target is not None and m.target.version == version and m.state in ends,
        )

    def follows(self, version: str) -> None:
        """Wait until the application answers with this version."""

        def has_followed() -> bool:
            release = self.application.hot.release
            return release is not None and release.version == version

        wait_until(has_followed, f"the application takes {version} over")


@pytest.fixture
def bench(broker: Broker, tmp_path: Path) -> Iterator[Bench]:
    """Everything at work, v1 committed."""
    publisher = Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())
    publisher.waits = SHORT_LOOKS
    release_unchecked(publisher, "1", STAND_IN)
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    with contextlib.ExitStack() as stack:
        observer = stack.enter_context(Observer(broker.url, publisher.topics, "cam-1"))
        agent = stack.enter_context(device.running())
        observer.wait_for_state("clf", State.COMMITTED, "1")
        application = stack.enter_context(Application(device.current().parent))
        application.wait_for_answers(STAND_IN)
        yield Bench(publisher, device, agent, application, observer)


class Bad(NamedTuple):
    """A model that the probe must refuse, and why."""

    version: str
    model: Callable[[], bytes]
    reason: str
    probe_timeout_s: float = 30.0
    max_latency_ratio: float | None = None


ZOO = (
    Bad("3.1", models.damaged_weights, "golden_mismatch"),
    Bad("3.2", models.not_a_number, "nonfinite_output"),
    Bad("3.3", models.slow, "too_slow", max_latency_ratio=3.0),
    Bad("3.4", models.memory_hungry, "too_much_memory"),
    Bad("3.5", models.crashes_runtime, "probe_crashed"),
    Bad("3.6", models.hangs, "probe_timeout", probe_timeout_s=2.0),
    Bad("3.7", models.wrong_contract, "contract_broken"),
)


def test_every_bad_model_of_the_zoo_is_refused_while_the_old_one_answers_then_a_good_one_is_taken(
    bench: Bench,
) -> None:
    link = bench.device.current().parent
    before = link.readlink()
    for bad in ZOO:
        bench.offer(
            bad.version,
            bad.model(),
            probe_timeout_s=bad.probe_timeout_s,
            max_latency_ratio=bad.max_latency_ratio,
        )
        status = bench.settled(bad.version)
        assert (status.state, status.reason) == (State.FAILED, bad.reason), status.detail
        assert bad.version in {entry.version for entry in status.benched}
        assert status.active is not None
        assert status.active.version == "1"
        assert link.readlink() == before, bad
        if bad.reason == "too_slow":
            assert _ratio(status, "latency_p50") > 10
    assert set(bench.application.answers) == {key_of(STAND_IN)}
    bench.application.wait_for_answers(STAND_IN)

    good = models.classifier(1, drift=1e-5)
    bench.offer("4", good, trial=Trial(duration_s=0.5, min_requests=30, max_latency_ratio=None))
    status = bench.settled("4")
    assert (status.state, status.reason) == (State.COMMITTED, "committed"), status.detail
    assert bench.device.current().read_bytes() == good
    bench.follows("4")
    bench.application.wait_for_answers(good)
    assert not bench.application.errors


# --- what only live traffic shows -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "rows", "reason", "check"),
    [
        (models.raises_on_live_traffic, models.inputs(4), "errors", "errors"),
        (models.fails_on_live_traffic, models.inputs(1) * 100, "nonfinite_output", "nonfinite"),
    ],
)
def test_a_model_that_fails_only_under_live_traffic_is_rolled_back_for_its_own_reason(
    bench: Bench, model: Callable[[], bytes], rows: Floats, reason: str, check: str
) -> None:
    application = bench.application
    application.rows = rows
    application.wait_for_answers(STAND_IN)
    before = bench.device.current().parent.readlink()
    bench.offer("2", model(), taken_for=model())
    bench.observer.wait_for_state("clf", State.TRIAL, "2")  # the probe found nothing
    status = bench.settled("2")
    assert (status.state, status.reason) == (State.ROLLED_BACK, reason), status.detail
    assert [(b.version, b.reason) for b in status.benched] == [("2", reason)]
    found = checks_of(status)[check]
    assert not found.passed
    assert found.value is not None
    assert found.limit is not None
    assert found.value > found.limit
    assert bench.device.current().parent.readlink() == before
    bench.follows("1")
    application.wait_for_answers(STAND_IN, 20)  # a call that began with 2 has ended by then
    failed = application.failed
    application.wait_for_answers(STAND_IN, 20)
    assert application.failed == failed


def test_a_release_that_the_application_cannot_load_is_rolled_back_and_nobody_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_schemas.process_memory.available_bytes", lambda: 1 << 20)
    bench.offer("2", models.classifier(1, drift=1e-5))
    status = bench.settled("2")
    assert (status.state, status.reason) == (State.ROLLED_BACK, "memory_short"), status.detail
    bench.application.wait_for_answers(STAND_IN)
    assert not bench.application.errors
    assert bench.application.hot.swaps == 0


# --- how a trial ends -----------------------------------------------------------------------------


def test_a_trial_ends_well_only_after_its_time_and_its_requests(
    bench: Bench, looks: list[Verdict]
) -> None:
    application = bench.application
    application.wait_for_answers(STAND_IN, 30)
    application.pause()
    bench.offer("2", models.classifier(1, drift=1e-5), trial=Trial(duration_s=0.5, min_requests=60))
    bench.follows("2")
    application.ask(59)
    wait_until(lambda: _is_one_short(looks), "a look after the time with 59 of 60 requests")
    assert bench.agent.cores[0].status().state is State.TRIAL
    application.ask(1)
    status = bench.settled("2")
    assert (status.state, status.reason, status.floor) == (State.COMMITTED, "committed", 2)
    checks = checks_of(status)
    assert checks["errors"].detail == "0 of 60 requests"
    for name in ("errors", "memory", "latency_p50", "output_mean", "output_std"):
        assert checks[name].value is not None, name
        assert checks[name].reference is not None, f"{name} of the old release"
    assert checks["nonfinite"].reference == 0


def _is_one_short(looks: list[Verdict]) -> bool:
    """Whether a look found the trial's time over, and one request missing."""
    return any(v.passed is None and v.detail.startswith("59 of 60 requests, ") for v in looks[-3:])


def test_a_cancel_on_trial_rolls_back(bench: Bench) -> None:
    bench.offer("2", models.classifier(1, drift=1e-5))
    bench.follows("2")
    bench.publisher.withdraw("clf")
    status = bench.observer.wait_for_state("clf", State.ROLLED_BACK, "2")
    assert (status.reason, [b.reason for b in status.benched]) == ("canceled", ["canceled"])
    assert status.active is not None
    assert status.active.version == "1"
    bench.follows("1")
    assert not bench.application.errors


def test_a_newer_notice_on_trial_waits_for_its_end_and_is_then_taken(bench: Bench) -> None:
    application = bench.application
    trial = Trial(duration_s=0.1, min_requests=10_000, max_latency_ratio=None)
    bench.offer("2", models.classifier(1, drift=1e-5), trial=trial)
    bench.follows("2")
    application.pause()  # or all requests may be answered while 3 is made and published
    short = Trial(duration_s=0.1, min_requests=1, max_latency_ratio=None)
    bench.offer("3", models.classifier(1, drift=2e-5), trial=short)
    wait_until(lambda: bench.agent.cores[0]._box.is_holding, "the notice of 3 is held")
    assert bench.agent.cores[0].status().state is State.TRIAL
    bench.observer.forget()
    application.hurry()
    application.go_on()
    assert bench.settled("2").state is State.COMMITTED
    assert bench.settled("3").state is State.COMMITTED
    bench.follows("3")
    assert not application.errors


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Verdict]:
    """What each look at a trial found, in order."""
    found: list[Verdict] = []
    watch = TrialWatcher.watch

    def spied(self: TrialWatcher, job: Watch) -> Verdict:
        verdict = watch(self, job)
        found.append(verdict)
        return verdict

    monkeypatch.setattr(TrialWatcher, "watch", spied)
    return found


def checks_of(status: ModelStatus) -> dict[str, Check]:
    """The evidence by name."""
    assert status.evidence is not None
    return {check.name: check for check in status.evidence.checks}


def _ratio(status: ModelStatus, name: str) -> float:
    """The candidate's figure by the active model's, from the evidence."""
    check = checks_of(status)[name]
    assert check.value is not None
    assert check.reference is not None
    return check.value / check.reference
