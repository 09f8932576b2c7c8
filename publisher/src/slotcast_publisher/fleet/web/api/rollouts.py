"""Rollouts: where they stand, and what persons ask of them (`web.asking`)."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import MediaType, Response, get, post
from litestar.concurrency import sync_to_thread
from litestar.params import JSONBody, PathParameter, QueryParameter

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.rollouts import log_of
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.steering.plan_check import group_sizes, problem_of_name, problems_of
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.requests import read_plan_bytes
from slotcast_publisher.fleet.web import asking
from slotcast_publisher.fleet.web.api.parts import AnyRequest, Shared
from slotcast_publisher.fleet.web.api.rollout_types import (
    Asked,
    DecidedGroup,
    DecidedRollout,
    GroupList,
    GroupOfRollout,
    GroupSize,
    LogLineView,
    PlanBody,
    PlanCheck,
    RolloutList,
    RolloutLog,
    WishBody,
)
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.etags import check_match, with_etag
from slotcast_publisher.fleet.web.guards import needs, who_asks
from slotcast_publisher.fleet.web.idempotency import Key, once
from slotcast_publisher.fleet.web.rollout_standing import (
    present_view,
    present_views,
    rollout_names,
)

ROLLOUTS_MAX: Final = 200
"""The most rollouts of a list: those that changed last."""
_SEE: Final = needs(Permission.SEE)
Rollout = Annotated[str, PathParameter(min_length=1, max_length=128)]


@get("/rollouts", opt=_SEE, sync_to_thread=True, summary="Rollouts", tags=["rollouts"])
def _rollouts(context: Context, counting: Shared) -> RolloutList:
    """Say where rollouts stand."""

    def make() -> RolloutList:
        names = sorted(name for name, _ in rollout_names(context)[:ROLLOUTS_MAX])
        return RolloutList(rollouts=tuple(present_views(context, counting, names)))

    return counting.answers.get("rollouts", make)


@get("/rollouts/{name:str}", opt=_SEE, sync_to_thread=True, summary="A rollout", tags=["rollouts"])
def _rollout(context: Context, counting: Shared, name: Rollout) -> RolloutView:
    """Say where one rollout stands, with its limits and figures."""
    return present_view(context, counting, name)


@get(
    "/rollouts/{name:str}/state",
    opt=_SEE,
    sync_to_thread=True,
    summary="What was decided about a rollout, with an ETag",
    tags=["rollouts"],
)
def _state(request: AnyRequest, context: Context, name: Rollout) -> Response[DecidedRollout]:
    """Say what was decided: its ETag, sent as `If-Match` with a request, guards against others."""
    return with_etag(request, _state_of(context, name))


@get(
    "/rollouts/{name:str}/groups",
    opt=_SEE,
    sync_to_thread=True,
    summary="A rollout's groups",
    tags=["rollouts", "groups"],
)
def _groups(context: Context, counting: Shared, name: Rollout) -> GroupList:
    """Count the devices of each group."""
    view = present_view(context, counting, name)
    return GroupList(
        groups=tuple(
            GroupOfRollout(
                name=group.name,
                state=group.state,
                members=group.members,
                let_in=group.let_in,
                committed=group.committed,
                failed=group.failed,
                under_way=group.under_way,
                held=group.held,
                expected=group.expected,
                unseen=group.unseen,
                percent=group.percent,
                devices="/api/v1/devices?" + urlencode({"rollout": name, "group": group.name}),
            )
            for group in view.groups
        )
    )


@get(
    "/rollouts/{name:str}/log",
    opt=_SEE,
    sync_to_thread=True,
    summary="Who did what, and what was decided and why",
    tags=["rollouts"],
)
def _log(
    context: Context,
    name: Rollout,
    lines: Annotated[int, QueryParameter(ge=1, le=10_000, description="How many.")] = 100,
) -> RolloutLog:
    """Give the last lines of a rollout's log."""
    context.files.plan_bytes(name)
    with context.database.reading() as connection:
        found = log_of(connection, name, lines)
    shown = [msgspec.convert(line, LogLineView, from_attributes=True) for line in found]
    return RolloutLog(rollout=name, lines=tuple(shown))


@get(
    "/rollouts/{name:str}/plan",
    opt=_SEE,
    sync_to_thread=True,
    media_type=MediaType.TEXT,
    summary="A rollout's plan, in TOML",
    tags=["rollouts"],
)
def _plan(context: Context, name: Rollout) -> str:
    """Give a rollout's plan as it was written."""
    return context.files.plan_bytes(name).decode(errors="replace")


@get(
    "/rollouts/{name:str}/requests/{request_id:str}",
    opt=_SEE,
    sync_to_thread=True,
    summary="What became of a request",
    tags=["rollouts"],
)
def _request(context: Context, name: Rollout, request_id: Rollout) -> Asked:
    """Say what became of what a person asked for."""
    context.files.plan_bytes(name)
    found = asking.answer_to(context, name, request_id)
    if found is None:
        raise NotFound(f"no request {request_id!r:.80} of {name!r:.80}; the last 100 are kept")
    return _asked(name, found)


# --- what is asked for ----------------------------------------------------------------------------


@post(
    "/plans/check",
    opt=_SEE,
    sync_to_thread=True,
    status_code=200,
    summary="Whether a plan could be started; changes nothing",
    tags=["rollouts"],
)
def _check(context: Context, data: JSONBody[PlanBody]) -> PlanCheck:
    """Check a plan: its keys, its releases, and how many devices are in each group."""
    plan = read_plan_bytes(data.plan.encode(), "plan")
    repo = context.repo.again()
    named = problem_of_name(repo, plan)
    sizes = group_sizes(plan, DatabaseFleet(context.database).members(plan.model))
    return PlanCheck(
        name=plan.name,
        model=plan.model,
        versions=tuple(plan.versions),
        problems=(*([named] if named else ()), *problems_of(repo, plan)),
        groups=tuple(
            GroupSize(name=group.name, devices=count)
            for group, count in zip(plan.groups, sizes, strict=True)
        ),
    )


@post(
    "/rollouts",
    opt=needs(Permission.ROLL_OUT),
    summary="Start a rollout by its plan; the same plan again changes nothing",
    tags=["rollouts"],
)
async def _start(
    request: AnyRequest, context: Context, data: JSONBody[PlanBody], idempotency_key: Key
) -> Response[Asked]:
    """Start a rollout."""
    who = who_asks(request)
    change = once(request, context, idempotency_key, data)

    async def make() -> Asked:
        plan, asked, is_new = await sync_to_thread(
            asking.start_rollout, context, who, data.plan, change.request_id
        )
        if not is_new:
            return _asked(plan.name, asked, outcome="done", new=False)
        return _asked(plan.name, await asking.wait_for_answer(context, plan.name, asked, 5.0))

    return await change.answer(make, 201)


@post(
    "/rollouts/{name:str}/requests",
    opt=needs(Permission.STEER),
    summary="Pause, resume, open a gate, retry, cancel, go back",
    tags=["rollouts"],
)
async def _ask(
    request: AnyRequest,
    context: Context,
    name: Rollout,
    data: JSONBody[WishBody],
    idempotency_key: Key,
) -> Response[Asked]:
    """Ask something of a rollout, and wait a moment until it is carried out."""
    who = who_asks(request)
    wish = Wish(data.wish)
    asking.check_wish(who, wish)
    change = once(request, context, idempotency_key, data)

    def ask() -> AskedFor:
        check_match(request, _state_of(context, name))
        return asking.ask_rollout(
            context,
            who,
            name,
            wish,
            why=data.why,
            group=data.group,
            to=data.to,
            request_id=change.request_id,
        )

    async def make() -> Asked:
        asked = await sync_to_thread(ask)
        found = await asking.wait_for_answer(context, name, asked, data.wait_s)
        if found.outcome == "refused":
            raise Conflict(found.answer)
        return _asked(name, found)

    return await change.answer(make, 201)


# --- making them ----------------------------------------------------------------------------------


def _state_of(context: WebContext, name: str) -> DecidedRollout:
    rollout = context.files.load(name)
    record = rollout.record
    return DecidedRollout(
        name=name,
        state=str(record.state),
        attempt=record.attempt,
        why=record.why,
        groups=tuple(
            DecidedGroup(name=group.name, state=str(group.state), percent=group.percent)
            for group in record.groups
        ),
        requests=tuple(asked.request.id for asked in rollout.requests),
    )


def _asked(name: str, asked: AskedFor, *, outcome: Any = None, new: bool = True) -> Asked:
    return Asked(
        id=asked.request.id,
        rollout=name,
        wish=str(asked.request.wish),
        outcome=outcome or asked.outcome or "waiting",
        answer=asked.answer,
        to=asked.request.to or None,
        new=new,
    )


ROUTES: Final = [
    _rollouts,
    _rollout,
    _state,
    _groups,
    _log,
    _plan,
    _request,
    _check,
    _start,
    _ask,
]
"""What this module answers."""
