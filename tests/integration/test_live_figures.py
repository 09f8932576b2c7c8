"""The figures that come back over MQTT, held against what the application measured itself."""

from __future__ import annotations

import contextlib
import itertools
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from slotcast_device.agent import Agent
from slotcast_device.application.histogram import WIRE_BOUNDS_S
from slotcast_schemas.messages.metrics import Summary
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State
from tests.support import models
from tests.support.application import Application, key_of
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import SHORT_LOOKS, new_prefix
from tests.support.proxy import Proxy
from tests.support.unchecked import STAND_IN, release_unchecked

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(300),
]

EVERY_SECOND = "\n[metrics]\ninterval_s = 1\n"
EVERY_HOUR = "\n[metrics]\ninterval_s = 3600\n"
FAILS_FOR_SOME = models.raises_on_live_traffic()
STEADY = [models.slow(seed, steps=2) for seed in (1, 2)]
"""A few milliseconds each: what a client sees beside the runtime's own time is small."""
SHORT = Trial(duration_s=0.3, min_requests=150, max_latency_ratio=None)


def made(broker: Broker, folder: Path, first: bytes) -> Publisher:
    """A repository with v1 published."""
    publisher = Publisher.make(folder, broker.url, prefix=new_prefix())
    publisher.waits = SHORT_LOOKS
    release_unchecked(publisher, "1", first, taken_for=first)
    publisher.publish("clf", "1")
    return publisher


@pytest.fixture
def publisher(broker: Broker, tmp_path: Path) -> Publisher:
    """A repository with the stand-in published as v1."""
    return made(broker, tmp_path / "repo", STAND_IN)


@contextlib.contextmanager
def serving(device: Device, observer: Observer) -> Iterator[Application]:
    """Run the device until v1 is committed, then its application beside it."""
    with device.running():
        observer.wait_for_state("clf", State.COMMITTED, "1")
        with Application(device.current().parent) as application:
            yield application


def total(figures: Sequence[Summary], name: str) -> int:
    return sum(getattr(summary, name) for summary in figures)


def known(agent: Agent) -> int:
    """Requests that the agent has summed up, sent or not."""
    totals = agent.shell.reports._collector._totals._totals
    return sum(summary.requests for summary in totals.values())


def merged(figures: Sequence[Summary]) -> list[int]:
    """The histograms of all summaries in one."""
    counts = [0] * (len(WIRE_BOUNDS_S) + 1)
    for latency in (s.latency for s in figures if s.latency is not None):
        assert latency.bounds_s == WIRE_BOUNDS_S
        counts = [a + b for a, b in zip(counts, latency.counts, strict=True)]
    return counts


def bucket_at(counts: Sequence[int], share: float) -> int:
    """The bucket in which a quantile lies."""
    rank = share * sum(counts)
    return next(i for i, below in enumerate(itertools.accumulate(counts)) if below >= rank)


def own_histogram(latencies_s: Sequence[float]) -> list[int]:
    counts = [0] * (len(WIRE_BOUNDS_S) + 1)
    for latency_s in latencies_s:
        counts[bisect_left(WIRE_BOUNDS_S, latency_s)] += 1
    return counts


def test_figures_over_mqtt_are_those_that_the_client_of_the_application_measured(
    broker: Broker, tmp_path: Path
) -> None:
    publisher = made(broker, tmp_path / "repo", STEADY[0])
    device = publisher.provision("cam-1", tmp_path / "cam-1", extra=EVERY_SECOND)
    with (
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        serving(device, observer) as application,
    ):
        application.wait_for(lambda a: a.requests >= 200)
        release_unchecked(
            publisher, "2", STEADY[1], trial=SHORT, max_latency_ratio=None, taken_for=STEADY[1]
        )
        publisher.publish("clf", "2")
        observer.wait_for_state("clf", State.TRIAL, "2")
        observer.wait_for_state("clf", State.COMMITTED, "2")
        application.rows = np.zeros((1, models.FEATURES + 1), np.float32)  # one too many
        application.wait_for(lambda a: a.failed >= 20)
        application.rows = models.inputs(1)
        requests = application.pause() - application.failed
        figures = observer.wait_for_figures(
            lambda f: total(f, "requests") >= requests and total(f, "invalid") >= application.failed
        )
        text = (device.config.state_dir / "metrics.prom").read_text()
    assert not observer.contradictions
    assert total(figures, "requests") == requests
    assert total(figures, "invalid") == application.failed
    assert total(figures, "errors") == 0
    assert {s.version for s in figures} == {"1", "2"}
    assert [s for s in figures if s.on_trial and s.version == "2" and s.requests]
    assert not [s for s in figures if s.on_trial and s.version == "1"]
    theirs, own = merged(figures), own_histogram(application.latencies_s)
    assert sum(theirs) == sum(own)
    for share in (0.5, 0.95):
        assert abs(bucket_at(theirs, share) - bucket_at(own, share)) <= 1, (theirs, own)
    check_quantiles(figures, application.latencies_s)
    check_openmetrics(text, figures)


def check_quantiles(figures: Sequence[Summary], latencies_s: Sequence[float]) -> None:
    """Each summary's quantiles are in order and within what was ever measured."""
    for latency in (s.latency for s in figures if s.latency is not None):
        assert 0 < latency.p50_s <= latency.p95_s <= latency.p99_s <= latency.max_s
        assert latency.max_s <= max(latencies_s)


def check_openmetrics(text: str, figures: Sequence[Summary]) -> None:
    """The file for scrapers parses, and has the same totals."""
    lines = text.splitlines()
    assert lines[-1] == "# EOF"
    samples: dict[str, float] = {}
    for line in lines:
        if line.startswith("#"):
            assert re.fullmatch(r"# (EOF|(TYPE|HELP|UNIT) slotcast_\w+ .+)", line), line
            continue
        found = re.fullmatch(r"(slotcast_\w+(?:\{[^{}]*\})?) (\S+)", line)
        assert found, line
        assert found[1] not in samples, f"twice: {line}"
        samples[found[1]] = float(found[2])
    for version in {s.version for s in figures}:
        of_it = [s for s in figures if s.version == version]
        labels = f'{{model="clf",version="{version}"}}'
        for name in ("requests", "errors"):
            assert samples[f"slotcast_{name}_total{labels}"] == total(of_it, name)
        assert samples[f"slotcast_invalid_requests_total{labels}"] == total(of_it, "invalid")
        answered = sum(merged(of_it))
        assert samples[f"slotcast_latency_seconds_count{labels}"] == answered
        le_inf = f'{{model="clf",version="{version}",le="+Inf"}}'
        assert samples[f"slotcast_latency_seconds_bucket{le_inf}"] == answered


@pytest.mark.parametrize("is_good", [True, False], ids=["committed", "rolled back"])
def test_a_trial_shorter_than_the_interval_is_reported_whole_at_its_end(
    publisher: Publisher, broker: Broker, tmp_path: Path, is_good: bool
) -> None:
    device = publisher.provision("cam-1", tmp_path / "cam-1", extra=EVERY_HOUR)
    with (
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        serving(device, observer) as application,
    ):
        application.wait_for(lambda a: a.requests >= 100)
        old = application.pause()
        trial = Trial(duration_s=0.3, min_requests=50, max_error_share=0.9, max_latency_ratio=None)
        release_unchecked(publisher, "2", FAILS_FOR_SOME, trial=trial, taken_for=FAILS_FOR_SOME)
        publisher.publish("clf", "2")
        observer.wait_for_state("clf", State.TRIAL, "2")
        application.wait_for(lambda a: a.hot.swaps == 1)
        if not is_good:
            application.rows = models.inputs(2)
        application.ask(50)
        ended = State.COMMITTED if is_good else State.ROLLED_BACK
        status = observer.wait_for_state("clf", ended, "2")
        # Where all fail, a look before the last of the 50 is as sure as one after it.
        seen = 50 if is_good else requests_of(status)
        figures = observer.wait_for_figures(lambda f: total(f, "requests") >= old + seen)
    by_version = {v: [s for s in figures if s.version == v] for v in ("1", "2")}
    assert total(by_version["1"], "requests") == old
    assert not any(s.on_trial for s in by_version["1"])
    requests = total(by_version["2"], "requests")
    assert seen <= requests <= 50
    assert total(by_version["2"], "errors") == (0 if is_good else requests)
    assert all(s.on_trial for s in by_version["2"])


def requests_of(status: ModelStatus) -> int:
    """Give the number of requests that the verdict of a trial speaks of."""
    assert status.evidence is not None
    (errors,) = [check for check in status.evidence.checks if check.name == "errors"]
    return int(errors.detail.split()[0])


def test_summaries_made_while_the_broker_was_away_come_once_it_is_back(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    with (
        Proxy((broker.host, broker.port)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        url = f"mqtt://127.0.0.1:{proxy.port}"
        device = publisher.provision("cam-1", tmp_path / "cam-1", url, extra=EVERY_SECOND)
        with device.running() as agent:
            observer.wait_for_state("clf", State.COMMITTED, "1")
            with Application(device.current().parent) as application:
                observer.wait_for_figures(lambda f: total(f, "requests") > 0)
                proxy.refuse()
                proxy.sever()
                observer.wait_for_presence(online=False)
                ring, counted = agent.shell.reports._collector._ring, len(observer.figures())
                application.wait_for(lambda _: len(ring) >= 3, "three summaries while offline")
                requests = application.pause()
                application.wait_for(lambda _: known(agent) >= requests, "the last report is in")
        assert len(observer.figures()) == counted
        assert total(observer.figures(), "requests") < requests
        with device.running():  # what was not sent was kept over the restart
            proxy.accept()
            figures = observer.wait_for_figures(lambda f: total(f, "requests") >= requests)
    assert total(figures, "requests") == requests
    assert set(application.answers) == {key_of(STAND_IN)}
    assert len(figures) >= counted + 3
    assert not observer.contradictions
    assert all(message.dropped == 0 for message in observer.metrics.values())
