"""Figures for Prometheus: the fleet, its rollouts and alarms, and how `serve` and the page fare.

They are counted when they are asked for, once for all that ask within a second. Names of models,
versions and reasons come from devices, so the number of series is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import fleet_counts, lease
from slotcast_publisher.fleet.figures.histograms import GRID_S, Histogram
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.event_stream import Live
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.fleet.web.rollout_standing import last_views, rollout_names

SERIES_MAX: Final = 500
"""The most series of one figure."""
ROLLOUTS_MAX: Final = 50
"""The most rollouts that are told: those that changed last, as far as their groups' series fit."""
_OUTCOMES: Final = ("committed", "failed", "under_way", "held", "expected", "unseen")


class FleetCollector(Collector):
    """Counts when it is asked.

    Args:
        context: of the page.
        counting: what viewers share.
        live: the streams.
    """

    def __init__(self, context: WebContext, counting: Counting, live: Live) -> None:
        self._context = context
        self._counting = counting
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Give all figures."""
        began_s = time.perf_counter()
        yield from self._fleet()
        yield from self._models()
        yield from self._figures()
        yield from self._rollouts()
        yield from self._serve()
        taken_s = time.perf_counter() - began_s
        viewers = GaugeMetricFamily("slotcast_page_viewers", "Streams of events that are open.")
        viewers.add_metric([], self._live.viewers)
        yield viewers
        taken = GaugeMetricFamily("slotcast_page_collect_seconds", "What counting this took.")
        taken.add_metric([], taken_s)
        yield taken

    def _fleet(self) -> Iterator[Metric]:
        fleet = self._counting.fleet()
        for name, text, value in (
            ("slotcast_devices", "Devices that are known.", fleet.devices),
            ("slotcast_devices_online", "Devices that are connected.", fleet.online),
            ("slotcast_devices_unseen", "Offline, and not heard of for 7 days.", fleet.unseen),
            ("slotcast_devices_shared_id", "Ids that two devices use.", fleet.shared_ids),
            ("slotcast_devices_clock_off", "Devices whose clock is off.", fleet.clocks_off),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        alarms = GaugeMetricFamily(
            "slotcast_alarms", "Alarms that stand; one may count many.", labels=["kind"]
        )
        counts: dict[str, int] = {}
        for alarm in self._counting.alarms(0):
            counts[str(alarm.kind)] = counts.get(str(alarm.kind), 0) + alarm.count
        for kind, count in counts.items():
            alarms.add_metric([kind], count)
        yield alarms

    def _models(self) -> Iterator[Metric]:
        versions = GaugeMetricFamily(
            "slotcast_version_devices",
            "Devices that run a version; an empty version for none.",
            labels=["model", "version"],
        )
        found: dict[tuple[str, str], int] = {}
        for v in self._counting.versions():
            found[v.model, v.version] = found.get((v.model, v.version), 0) + v.devices
        for (model, version), count in list(found.items())[:SERIES_MAX]:
            versions.add_metric([model, version], count)
        yield versions
        states = GaugeMetricFamily(
            "slotcast_state_devices",
            "Devices in a state, by why.",
            labels=["model", "state", "reason"],
        )
        for s in list(self._counting.states())[:SERIES_MAX]:
            states.add_metric([s.model, s.state, s.reason], s.devices)
        yield states

    def _figures(self) -> Iterator[Metric]:
        labels = ["model", "version", "sequence"]
        requests = CounterMetricFamily(
            "slotcast_live_requests", "Live requests that devices answered.", labels=labels
        )
        errors = CounterMetricFamily(
            "slotcast_live_errors", "Of them, those that raised an error.", labels=labels
        )
        nonfinite = CounterMetricFamily(
            "slotcast_live_nonfinite", "Of them, answers with NaN or infinity.", labels=labels
        )
        memory = GaugeMetricFamily(
            "slotcast_live_memory_bytes", "The most that a process took.", labels=labels
        )
        latency = HistogramMetricFamily(
            "slotcast_live_latency_seconds", "Latency of live requests.", labels=labels
        )
        for each in list(self._counting.figures())[: SERIES_MAX // 10]:
            named, figures = [each.model, each.version, str(each.sequence)], each.figures
            requests.add_metric(named, figures.requests)
            errors.add_metric(named, figures.errors)
            nonfinite.add_metric(named, figures.nonfinite)
            memory.add_metric(named, figures.memory_bytes)
            latency.add_metric(named, buckets_of(figures.latency), figures.latency.sum_s)
        yield from (requests, errors, nonfinite, memory, latency)

    def _rollouts(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "slotcast_rollout_state",
            "1 for the state that a rollout is in.",
            labels=["rollout", "model", "version", "state"],
        )
        groups = GaugeMetricFamily(
            "slotcast_rollout_devices",
            "Devices of a group that were let in, by what the release came to.",
            labels=["rollout", "group", "outcome"],
        )
        looked = GaugeMetricFamily(
            "slotcast_rollout_looked_seconds",
            "Seconds since whoever drives it looked at a rollout.",
            labels=["rollout"],
        )
        saved = GaugeMetricFamily(
            "slotcast_rollout_saved_bytes",
            "Bytes that deltas and reused files spared devices.",
            labels=["rollout"],
        )
        for view in self._rollout_views():
            for state in RolloutState:
                named = [view.name, view.model, view.version, str(state)]
                states.add_metric(named, int(view.state == state))
            for group in view.groups:
                for outcome in _OUTCOMES:
                    groups.add_metric([view.name, group.name, outcome], getattr(group, outcome))
            if view.looked_s is not None:
                looked.add_metric([view.name], view.looked_s)
            saved.add_metric([view.name], view.saved_bytes)
        yield from (states, groups, looked, saved)

    def _rollout_views(self) -> Iterator[RolloutView]:
        """Give the last look at rollouts, for whoever drives them counts their devices."""
        names = [name for name, _ in rollout_names(self._context)[:ROLLOUTS_MAX]]
        room = SERIES_MAX
        for view in last_views(self._context, names):
            room -= len(view.groups) * len(_OUTCOMES)
            if room < 0:
                return
            yield view

    def _serve(self) -> Iterator[Metric]:
        """Give what is known of `serve`: it holds leases, writes, and counts what it drops."""
        now_s = self._context.now_s()
        with self._context.database.reading() as connection:
            held = lease.holders(connection, now_s)
            dropped = fleet_counts.dropped_counts(connection)
            backlog = fleet_counts.unfolded_count(connection)
            heard_s = fleet_counts.last_heard_s(connection)
        drops = CounterMetricFamily(
            "slotcast_serve_dropped_messages",
            "Messages of devices that changed nothing.",
            labels=["reason"],
        )
        for reason, count in dropped.items():
            drops.add_metric([reason], count)
        yield drops
        leases = GaugeMetricFamily(
            "slotcast_serve_works",
            "1 while a `serve` holds the lease for this work.",
            labels=["work"],
        )
        for work, is_held in held.items():
            leases.add_metric([work], int(is_held))
        yield leases
        yield GaugeMetricFamily(
            "slotcast_serve_backlog_summaries", "Figures not added up yet.", value=backlog
        )
        yield GaugeMetricFamily(
            "slotcast_serve_heard_timestamp_seconds",
            "When a change of any device was written last.",
            value=heard_s,
        )


def buckets_of(latency: Histogram) -> list[tuple[str, float]]:
    """Give a histogram as Prometheus has it: cumulative, by upper bounds, every third of ours."""
    below = latency.cumulative().tolist()
    steps = [(f"{bound:.6g}", below[n]) for n, bound in enumerate(GRID_S) if n % 3 == 0]
    return [*steps, ("+Inf", float(latency.requests))]


class Exposition:
    """What `/metrics` gives.

    Args:
        collector: of the fleet.
    """

    def __init__(self, collector: FleetCollector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(namespace="slotcast_page", registry=self._registry)

    def text(self) -> bytes:
        """Count, and give the text that Prometheus reads."""
        return generate_latest(self._registry)


@get("/metrics", opt=needs(Permission.SEE), sync_to_thread=True)
def _metrics(exposition: NamedDependency[Exposition]) -> Response[bytes]:
    """Give figures for Prometheus, which sends a token of scope `see`."""
    # As a header: the framework adds a charset to a media type of text, and this one has its own.
    return Response(exposition.text(), headers={"content-type": CONTENT_TYPE_LATEST})


ROUTES: Final = [_metrics]
"""What this module answers."""
