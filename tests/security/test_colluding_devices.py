"""A few devices that lie together neither stop a rollout nor have it pass: they count as they are.

Each says all that it may of itself: requests without end, all of them errors or none, and any
latency, memory, load time and output. What they can do is what as many broken devices do.
"""

from __future__ import annotations

import random

import msgspec
import pytest

from slotcast_publisher.fleet.figures.comparison import USUAL_SHARE, Figure, FiguresPair, on_all
from slotcast_publisher.fleet.figures.histograms import EMPTY, Histogram, histogram_of
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_schemas.limits import SAFE_INTEGER_MAX
from tests.support.latencies import latency
from tests.support.rollouts import Story, fleet, plan_of

DEVICES = 100
ALL_LIMITS = (
    "soak_s = 300\n[limits]\nmax_load_time_ratio = 1.5\nmax_output_mean_shift = 0.5\n"
    'max_output_std_ratio = 2.0\n[[groups]]\nname = "all"\n'
)


def calls(each_s: float, requests: int) -> Histogram:
    """Give a histogram of so many requests, of which 100 are drawn."""
    drawn = latency(each_s, 100)
    times = min(requests, 10**15) // 100
    counts = tuple(count * times for count in drawn.counts)
    return histogram_of(msgspec.structs.replace(drawn, counts=counts)) or EMPTY


def figures(  # a device of usual traffic, and what is odd about one
    *,
    requests: int = 200,
    errors: int = 0,
    nonfinite: int = 0,
    latency_s: float = 0.01,
    times: float = 1.0,
) -> ReleaseFigures:
    return ReleaseFigures(
        requests=requests,
        errors=errors,
        nonfinite=nonfinite,
        latency=calls(latency_s, requests),
        memory_bytes=int(100_000_000 * times),
        load_s=times,
        output_mean=times,
        output_std=times,
    )


GOOD = figures()
WORST = figures(requests=SAFE_INTEGER_MAX, errors=SAFE_INTEGER_MAX, latency_s=1e4, times=1e6)
BEST = figures(requests=SAFE_INTEGER_MAX, latency_s=1e-5, times=1e-6)


def let_in() -> Story:
    """A rollout of which all devices have committed the release, and none has said figures."""
    told = Story(plan_of(ALL_LIMITS), fleet(DEVICES, canaries=0))
    told.start()
    told.commit()
    return told


def liars(count: int) -> set[str]:
    """Some devices from all over the fleet."""
    return {f"d{number}" for number in random.Random(count).sample(range(DEVICES), count)}


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_few_that_lie_together_do_not_stop_a_rollout(count: int) -> None:
    told, lying = let_in(), liars(count)
    for name in told.devices:
        told.report(name, WORST if name in lying else GOOD, GOOD)
    told.looks(10)
    assert told.state() is RolloutState.FINISHED, told.record.pause


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_few_that_fail_on_purpose_do_not_stop_it_either(count: int) -> None:
    told = let_in()
    told.fail(*liars(count))
    told.looks(10)
    assert told.state() is RolloutState.FINISHED, told.record.pause


@pytest.mark.parametrize(("count", "state"), [(3, RolloutState.FINISHED), (4, RolloutState.PAUSED)])
def test_a_limit_of_nothing_is_broken_by_four_devices_that_say_so(
    count: int, state: RolloutState
) -> None:
    """The plan's word: answers that are not finite are allowed of nobody, unless it says more."""
    told = let_in()
    for name in told.devices:
        told.report(name, figures(nonfinite=200) if name in liars(count) else GOOD, GOOD)
    told.looks(10)
    assert told.state() is state


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_few_that_lie_together_hide_no_bad_release(count: int) -> None:
    """Three requests in a hundred fail: too few on each device for it to be sure by itself."""
    told, lying = let_in(), liars(count)
    for number, name in enumerate(told.devices):
        honest = figures(requests=100, errors=1 + number % 5)
        told.report(name, BEST if name in lying else honest, WORST if name in lying else GOOD)
    told.looks(3)
    assert told.record.pause is not None
    assert "all/max_error_share" in told.record.pause.limits


@pytest.mark.parametrize("devices", [20, 100, 2_000])
@pytest.mark.parametrize("share", [0.03, 0.2])
def test_so_many_of_all_count_for_four_times_their_part_at_most(devices: int, share: float) -> None:
    """However uneven the traffic of the honest ones is."""
    rng, lying = random.Random(devices), int(devices * share)
    honest = [int(rng.lognormvariate(6, 2)) + 1 for _ in range(devices - lying)]
    pairs = [FiguresPair(ReleaseFigures(requests=number)) for number in honest]
    pairs += [FiguresPair(WORST)] * lying
    found = on_all(Figure.ERROR_SHARE, pairs, 0.95)
    assert found is not None
    assert found.value <= lying / (devices // USUAL_SHARE + 1)
    measured = on_all(Figure.MEMORY_RATIO, [FiguresPair(GOOD, GOOD)] * (devices - lying), 0.95)
    odd = [FiguresPair(WORST, BEST)] * lying
    lied = on_all(Figure.MEMORY_RATIO, [FiguresPair(GOOD, GOOD)] * (devices - lying) + odd, 0.95)
    assert measured is not None
    assert lied is not None
    assert lied.value <= measured.value * (1 + lying / devices)


def test_a_release_that_is_bad_for_all_is_found_however_uneven_their_traffic_is() -> None:
    rng = random.Random(7)
    requests = [int(rng.lognormvariate(6, 2)) + 50 for _ in range(DEVICES)]
    pairs = [FiguresPair(ReleaseFigures(requests=n, errors=n // 20)) for n in requests]
    found = on_all(Figure.ERROR_SHARE, pairs, 0.95)
    assert found is not None
    assert found.low > 0.03
