"""What is said of a limit: the figure that broke it, in its unit, and no other."""

from __future__ import annotations

from typing import Any

from slotcast_publisher.fleet.figures.shares import Share
from slotcast_publisher.fleet.rollout.judge import LimitReading
from slotcast_publisher.fleet.rollout.limit_words import LIMIT_KINDS, LimitFound
from slotcast_publisher.fleet.rollout.plan import Limits


def reading(name: str, value: float, **changes: Any) -> LimitReading:
    fields: dict[str, Any] = {
        "group": "canary",
        "low": None,
        "limit": 1.5,
        "observed": 7,
        "over": Share(3, 7),
        "is_broken": True,
    }
    return LimitReading(name=name, value=value, **fields | changes)


def test_where_single_devices_broke_it_the_sum_is_not_what_is_held_against_the_limit() -> None:
    words = reading("max_latency_p95_ratio", 1.37, devices_allowed=0.05).words(0.95)

    assert words == (
        "max_latency_p95_ratio in canary: 3 of 7 devices are above 1.50 × by themselves"
        " (5 % of devices allowed); 1.37 × over all of them"
    )


def test_where_all_together_broke_it_the_single_devices_stand_behind() -> None:
    words = reading("max_latency_p95_ratio", 1.8, low=1.62).words(0.95)

    assert words == (
        "max_latency_p95_ratio in canary: 1.80 × where 1.50 × is allowed (7 devices; at 0.95"
        " confidence at least 1.62 ×); 3 of 7 are above it by themselves"
    )


def test_devices_that_fell_silent_are_silent_and_not_above_something() -> None:
    words = reading("max_silent_share_rise", 0.43, low=0.2, limit=0.05).words(0.95)

    assert words.endswith("; 3 of 7 are silent")


def test_a_count_is_exact() -> None:
    found = LimitFound("stop_after_failures", 2, 2, 4)

    assert found.full_words(2, 0.95) == "2 devices failed, and 2 stop it"


def test_every_limit_of_a_plan_has_a_name_and_a_unit() -> None:
    settings = {"max_share_of_devices", "max_share_by_reason"}
    keys = {key for key in Limits.__struct_fields__ if key.startswith(("max_", "stop_"))}

    assert keys - settings == set(LIMIT_KINDS)
