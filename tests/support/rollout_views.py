"""Looks at a rollout for tests of the page: one that paused itself, which a test changes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.rollout.plan import Plan, read_plan
from slotcast_publisher.fleet.steering.evidence import FailureView, GroupFigures, SumView, TagView
from slotcast_publisher.fleet.steering.overview_types import (
    NOT_LET_IN,
    GroupView,
    LimitView,
    PauseView,
    RolloutView,
)
from slotcast_schemas.messages.status import Check, Evidence

AT_S: Final = 1_790_000_000
PLAN: Final = """
model = "detector"
version = "3.3.0"
name = "d-3.3.0"
soak_s = 14400
[[groups]]
name = "canary"
tags = {ring = "canary"}
gate = {person = true}
[[groups]]
name = "ten-percent"
percent = 10
[[groups]]
name = "everyone"
"""


def plan() -> Plan:
    """The plan of the rollout."""
    return read_plan(PLAN, "plan.toml")


def group(name: str, state: str, **changes: Any) -> GroupView:
    """A group; one that nobody was let in of, unless a test says otherwise."""
    fields: dict[str, Any] = {
        "name": name,
        "state": state,
        "percent": 0.0,
        "step": 1,
        "steps": 1,
        "members": 100,
        "let_in": 0,
        "committed": 0,
        "failed": 0,
        "under_way": 0,
        "held": 0,
        "expected": 0,
        "unseen": 0,
        "reasons": {},
        "soaked_s": 0.0,
        "soak_s": 14400.0,
        "waits_for": (),
        "states": {NOT_LET_IN: 100},
        "success_share": 0.95,
    }
    return GroupView(**fields | changes)


def canary(**changes: Any) -> GroupView:
    """The canaries: 34 of 45 have it, 5 are on trial, 6 failed."""
    fields: dict[str, Any] = {
        "percent": 100.0,
        "members": 48,
        "let_in": 48,
        "committed": 34,
        "failed": 6,
        "under_way": 5,
        "unseen": 3,
        "states": {"COMMITTED": 34, "TRIAL": 5, "ROLLED_BACK": 4, "FAILED": 2},
        "opened_s": AT_S - 7200,
        "taken": 39,
        "saved_bytes": 39 * 390_000,
    }
    given = fields | changes
    return group("canary", given.pop("state", "PAUSED"), **given)


def limit(name: str, value: float, allowed: float, **changes: Any) -> LimitView:
    """A limit in the canaries that holds, unless a test says otherwise."""
    fields: dict[str, Any] = {
        "group": "canary",
        "low": value * 0.95,
        "high": value * 1.05,
        "observed": 43,
        "over": 0,
        "broken": False,
        "accepted": False,
        "text": "",
    }
    return LimitView(limit=name, value=value, allowed=allowed, **fields | changes)


def total(bucket: int, p95_s: float, memory_bytes: int) -> SumView:
    """What devices reported of a release."""
    counts = tuple(1000.0 if n == bucket else 0.0 for n in range(len(GRID_S) + 1))
    return SumView(
        devices=43,
        requests=1000,
        errors=1,
        nonfinite=0,
        p50_s=p95_s / 2,
        p95_s=p95_s,
        memory_bytes=memory_bytes,
        load_s=0.0,
        output_mean=None,
        counts=counts,
    )


def failure(device: str = "cam-0388", **changes: Any) -> FailureView:
    """Two devices that failed at the probe."""
    check = Check(name="golden", passed=False, value=1.74, limit=1.0, detail="of sample 3")
    fields: dict[str, Any] = {
        "group": "canary",
        "reason": "golden_mismatch",
        "state": "FAILED",
        "actor": "the model's authors",
        "devices": 2,
        "first_s": AT_S - 600,
        "last_s": AT_S - 300,
        "device": device,
        "tags": {"board": "rev-b"},
        "detail": "",
        "runs": "3.2.1",
        "evidence": Evidence(sequence=3, checks=(Check(name="memory", passed=True), check)),
    }
    return FailureView(**fields | changes)


def paused(**changes: Any) -> RolloutView:
    """A rollout that paused itself: p95 is 2.64 times what it was."""
    figures = GroupFigures(
        group="canary",
        old=total(24, 0.0121, 212_000_000),
        new=total(28, 0.0319, 224_000_000),
        slow=(
            TagView(
                key="board", value="rev-b", devices=15, old_s=0.0124, new_s=0.0351, is_found=True
            ),
        ),
    )
    view = RolloutView(
        name="d-3.3.0",
        model="detector",
        version="3.3.0",
        state="PAUSED",
        attempt=1,
        started_by="olga",
        started_at="2026-09-21T14:13:20+00:00",
        why="",
        pause=PauseView(
            by="limit", who="", why="p95 is too high", limits=("canary/max_latency_p95_ratio",)
        ),
        groups=(canary(), group("ten-percent", "WAITING"), group("everyone", "WAITING")),
        limits=(
            limit("max_memory_ratio", 1.06, 1.25),
            limit("max_latency_p95_ratio", 2.64, 1.5, low=2.41, high=2.88, broken=True, over=15),
            limit("max_failed_share", 0.15, 0.2, low=0.071, high=0.291, observed=40, over=None),
        ),
        waits_for=("a person to let it go on, go back or cancel: p95 is too high",),
        offer=None,
        looked_s=2,
        driven=True,
        devices=248,
        saved_bytes=15_200_000,
        requests=0,
        sequence=3,
        before="3.2.1",
        whole_bytes=1_120_000,
        figures=(figures,),
        failures=(failure(),),
        at_s=AT_S,
    )
    return msgspec.structs.replace(view, **changes)


def running(**changes: Any) -> RolloutView:
    """The same rollout while all is well."""
    groups = (
        canary(state="RUNNING", failed=0, states={"COMMITTED": 34, "TRIAL": 5}),
        group("ten-percent", "WAITING"),
        group("everyone", "WAITING"),
    )
    fields: dict[str, Any] = {
        "state": "RUNNING",
        "pause": None,
        "groups": groups,
        "limits": (limit("max_memory_ratio", 1.06, 1.25),),
        "failures": (),
        "waits_for": ("canary: 34 of 39",),
    }
    return paused(**fields | changes)
