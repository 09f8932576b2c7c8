"""What the screens of rollouts read: the last look at each, its log, its requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.fleet.database.rollouts import LogLine, log_of
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.overview import overview
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.saved_views import saved_view
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.words import share_words, span_words
from slotcast_schemas.plural import several

VIEW_MAX_S: Final = 120
"""An older look than that is taken anew here: nobody drives the rollout."""
LINES_SHOWN: Final = 20
"""The number of lines of a log that are shown at first."""
LINES_MAX: Final = 500
"""The most lines of a log that are shown."""
_PAUSES: Final = frozenset({"paused", "asked_to_pause"})


@dataclass(frozen=True, slots=True)
class AskedWords:
    """What became of a request that somebody made on this page."""

    words: str


def view_of_rollout(context: WebContext, name: str) -> RolloutView:
    """Give the last look at a rollout; takes one where the last is too old.

    Args:
        context: what there is to look at.
        name: of the rollout.

    Raises:
        NotFound: there is no such rollout.
    """
    rollout = context.files.load(name)
    with context.database.reading() as connection:
        found = saved_view(connection, name)
    now_s = context.now_s()
    is_of_record = found is not None and found.view.state == rollout.record.state
    if found is not None and is_of_record and now_s - found.at_s <= VIEW_MAX_S:
        return found.view
    fleet = DatabaseFleet(context.database)
    plan = rollout.plan
    return overview(
        context.repo,
        context.files,
        name,
        fleet.devices(plan.model),
        fleet.saved_bytes(context.repo, plan),
        now_s,
        saved_by_group=fleet.saved_by_group(context.repo, plan),
    )


def log_lines(context: WebContext, name: str, count: int) -> list[LogLine]:
    """Give the last lines of a rollout's log, the newest first.

    Args:
        context: what there is to look at.
        name: of the rollout.
        count: the most lines.
    """
    with context.database.reading() as connection:
        return list(reversed(log_of(connection, name, count)))


def paused_since(lines: Sequence[LogLine], view: RolloutView) -> int:
    """Give since when a rollout is paused, seconds since 1970; 0 where it is not, or nobody knows.

    Args:
        lines: of its log, the newest first.
        view: where it stands.
    """
    if view.state != "PAUSED":
        return 0
    return next((line.at_s for line in lines if line.word in _PAUSES), 0)


def asked_words(context: WebContext, name: str, request_id: str) -> AskedWords | None:
    """Say what became of a request; None where it is known no more.

    Args:
        context: what there is to look at.
        name: of the rollout.
        request_id: of the request.
    """
    if not request_id.isalnum():
        return None
    answered = context.files.answer_to(name, request_id)
    if answered is not None:
        wish = _wish(answered)
        if answered.outcome == "refused":
            return AskedWords(f"{wish} was refused: {answered.answer}")
        return AskedWords(f"{wish}: done.")
    waiting = context.files.requests(name)
    asked = next((each for each in waiting if each.request.id == request_id), None)
    if asked is None:
        return None
    return AskedWords(
        f"{_wish(asked)}: asked for. Whoever drives the rollout (`slotcast serve`) carries it out."
    )


def _wish(asked: AskedFor) -> str:
    return asked.request.wish.replace("_", " ").capitalize()


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Give what a plan says, in words."""
    limits = plan.limits
    stops = f"a limit broken with {limits.confidence:.4g} confidence"
    if limits.stop_after_failures is not None:
        stops = f"{limits.stop_after_failures} failures, or {stops}"
    watched = f"watched for {span_words(plan.soak_s)}, no limit broken, its gate open"
    facts = [
        (
            "Passes when",
            f"{share_words(plan.success_share)} of the reachable devices COMMITTED, {watched}",
        ),
        ("Not seen", f"for {span_words(plan.unseen_s)}: counted apart, follow when they come"),
        ("Stops", f"{stops}; then: {plan.on_broken_limit.replace('_', ' ')}"),
        ("Way back", plan.go_back_to or "none signed beforehand"),
    ]
    if plan.max_under_way is not None:
        facts.append(("At once", f"at most {several(plan.max_under_way, 'device')} under way"))
    if plan.windows:
        facts.append(("Window", f"{', '.join(plan.windows)}, {plan.time_zone}"))
    if plan.stepping_stones:
        facts.append(("Before it", ", ".join(plan.stepping_stones)))
    return facts
