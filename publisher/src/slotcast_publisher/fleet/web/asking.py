"""What persons ask of rollouts through the page: durable, in the audit log, and waited for.

Nothing is carried out here: whoever drives the rollouts (`slotcast serve`) takes requests up, as it
does those of the commands. The page holds no keys. The entry of the audit log is durable before the
request counts, so no change is without one; one that is refused leaves none.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Final

import msgspec
from litestar.concurrency import sync_to_thread
from litestar.exceptions import PermissionDeniedException

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.access.audit import write_entry
from slotcast_publisher.fleet.access.roles import Permission, role_that_may
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.steering.plan_check import problems_of
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.requests import new_request, read_plan_bytes
from slotcast_publisher.fleet.steering.rollout_files import Started
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.guards import Who

NEEDED: Final[Mapping[Wish, Permission]] = {
    Wish.START: Permission.ROLL_OUT,
    Wish.CANCEL: Permission.ROLL_OUT,
    Wish.GO_BACK: Permission.ROLL_OUT,
    Wish.PAUSE: Permission.STEER,
    Wish.RESUME: Permission.STEER,
    Wish.OPEN_GATE: Permission.STEER,
    Wish.RETRY: Permission.STEER,
}
"""What each wish needs."""
_STEP_S: Final = 0.1
"""The seconds between two looks for an answer."""


def check_wish(who: Who, wish: Wish) -> None:
    """See that somebody may ask for this.

    Args:
        who: asks.
        wish: for what.

    Raises:
        PermissionDeniedException: they may not.
    """
    needed = NEEDED[wish]
    if not who.may(needed):
        raise PermissionDeniedException(
            f"to {wish.replace('_', ' ')} a rollout needs the permission {needed}, which the role"
            f" {role_that_may(needed)} has"
        )


def ask_rollout(
    context: WebContext,
    who: Who,
    name: str,
    wish: Wish,
    *,
    why: str = "",
    group: str = "",
    to: str = "",
    request_id: str | None = None,
) -> AskedFor:
    """Make a request durable, and write it into the audit log.

    Args:
        context: of the page.
        who: asks; was let through.
        name: of the rollout.
        wish: what is asked for.
        why: for the log.
        group: whose gate to open.
        to: version to go back to.
        request_id: the same for the same request that is sent again; drawn unless given.

    Raises:
        PermissionDeniedException: they may not.
        NotFound: no such rollout.
        Conflict: there is nothing to go back to, or too many requests wait.
        UsageError: a text that is too long.
    """
    check_wish(who, wish)
    rollout = context.files.load(name)
    has_way_back = bool(to or rollout.plan.go_back_to or rollout.record.back_to)
    if wish is Wish.GO_BACK and not has_way_back:
        raise Conflict(
            f"{name}: its plan names nothing to go back to, and signing old content anew needs"
            f" the model's release key: `slotcast rollout go-back REPO {name}`"
        )
    asked = new_request(wish, who.name, group=group, why=why, to=to)
    if request_id is not None:
        request = msgspec.structs.replace(asked.request, id=request_id)
        asked = msgspec.structs.replace(asked, request=request)
        known = answer_to(context, name, request_id)
        if known is not None:
            return known
    after = {"why": why, "group": group, "to": to, "request": asked.request.id}

    def note() -> None:
        with context.database.transaction() as connection:
            write_entry(
                connection,
                who.actor,
                f"rollout.{wish}",
                name,
                at_s=context.now_s(),
                before={"state": str(rollout.record.state)},
                after={key: value for key, value in after.items() if value},
            )

    context.files.ask(name, asked, note)
    return asked


def start_rollout(
    context: WebContext, who: Who, text: str, request_id: str | None = None
) -> tuple[Plan, AskedFor, bool]:
    """Take a plan in, and ask for it to be started; the same plan again changes nothing.

    Args:
        context: of the page.
        who: starts it; was let through.
        text: of the plan.
        request_id: the same for the same request that is sent again; drawn unless given.

    Returns:
        The plan, the request, and whether it is new.

    Raises:
        PermissionDeniedException: they may not.
        UsageError: the plan is not right.
        Conflict: its releases are not signed, or another plan has its name.
    """
    check_wish(who, Wish.START)
    data = text.encode()
    plan = read_plan_bytes(data, "plan")
    problems = list(problems_of(context.repo.again(), plan))
    if problems:
        raise Conflict(problems[0])
    asked = new_request(Wish.START, who.name)
    if request_id is not None:
        request = msgspec.structs.replace(asked.request, id=request_id)
        asked = msgspec.structs.replace(asked, request=request)
    digest = hashlib.sha256(data).hexdigest()
    started = Started(who=who.name, at_s=asked.at_s, plan_sha256=digest)

    def note() -> None:
        with context.database.transaction() as connection:
            after = {"plan_sha256": digest, "model": plan.model, "version": plan.version}
            now_s = context.now_s()
            write_entry(connection, who.actor, "rollout.start", plan.name, at_s=now_s, after=after)

    return plan, asked, context.files.start(plan, data, started, asked, note)


def answer_to(context: WebContext, name: str, request_id: str) -> AskedFor | None:
    """Give a request, answered or waiting; None where there is none of this id.

    Args:
        context: of the page.
        name: of the rollout.
        request_id: of the request.
    """
    if not request_id.isalnum():
        return None
    waiting = [a for a in context.files.requests(name) if a.request.id == request_id]
    return context.files.answer_to(name, request_id) or (waiting[0] if waiting else None)


async def wait_for_answer(
    context: WebContext, name: str, asked: AskedFor, wait_s: float
) -> AskedFor:
    """Wait until a request is answered, or for so long; gives it as it is then.

    Args:
        context: of the page.
        name: of the rollout.
        asked: the request.
        wait_s: how long.
    """
    deadline_s = time.monotonic() + wait_s
    while True:
        found = await sync_to_thread(context.files.answer_to, name, asked.request.id)
        if found is not None:
            return found
        if time.monotonic() >= deadline_s:
            return asked
        await asyncio.sleep(_STEP_S)
