"""What a person asks of a rollout: made durable here, carried out by whoever drives it."""

from __future__ import annotations

import getpass
import hashlib
import socket
import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from slotcast_publisher.fleet.rollout.person import Request, Wish
from slotcast_publisher.fleet.rollout.plan import Plan, read_plan
from slotcast_publisher.fleet.steering.local_time import offset_s
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles, Started
from slotcast_schemas.errors import UsageError

WHO_MAX_CHARS: Final = 100
"""The most characters of a person's name."""
WHY_MAX_CHARS: Final = 500
"""The most characters of what a person gives as the reason."""
_STEP_S: Final = 0.1
"""The seconds between two looks for an answer."""


def this_person() -> str:
    """Name whoever runs this command: user and machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"[:WHO_MAX_CHARS]


def new_request(wish: Wish, who: str, *, group: str = "", why: str = "", to: str = "") -> AskedFor:
    """Make a request with an id of its own.

    Args:
        wish: what is asked for.
        who: asks.
        group: whose gate to open.
        why: the reason, for the log.
        to: the release to go back to.

    Raises:
        UsageError: a name or a reason that is too long.
    """
    for name, text, most in (("who", who, WHO_MAX_CHARS), ("why", why, WHY_MAX_CHARS)):
        if len(text) > most:
            raise UsageError(f"{name}: expected at most {most} characters, got {len(text)}")
    request = Request(id=uuid.uuid4().hex, wish=wish, who=who, group=group, why=why, to=to)
    return AskedFor(request=request, at_s=int(time.time()))


def read_plan_bytes(data: bytes, where: str) -> Plan:
    """Read a plan, and see that this machine knows its time zone.

    Args:
        data: of the file.
        where: what a message begins with, such as the file's name.

    Raises:
        UsageError: it is not right; says what is expected and what came.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{where}: expected UTF-8 text: {exc}") from exc
    plan = read_plan(text, where)
    offset_s(plan.time_zone, 0)
    return plan


def start(files: RolloutFiles, data: bytes, where: str, who: str) -> tuple[Plan, AskedFor, bool]:
    """Take a plan in and ask for it to be started; the same again changes nothing.

    Args:
        files: the repository's rollouts.
        data: of the plan's file.
        where: what a message begins with, such as the file's name.
        who: starts it.

    Returns:
        The plan, the request, and whether it is new.

    Raises:
        UsageError: the plan is not right.
        Conflict: another plan has this name.
    """
    plan = read_plan_bytes(data, where)
    asked = new_request(Wish.START, who)
    started = Started(who=who, at_s=asked.at_s, plan_sha256=hashlib.sha256(data).hexdigest())
    return plan, asked, files.start(plan, data, started, asked)


def wait_for_answer(
    files: RolloutFiles, name: str, asked: AskedFor, wait_s: float, step: Callable[[], None]
) -> AskedFor | None:
    """Wait until a request is answered; None if it is not in time.

    Args:
        files: the repository's rollouts.
        name: of the rollout.
        asked: the request.
        wait_s: how long.
        step: called between two looks, such as one that tries to drive the rollout itself.
    """
    deadline_s = time.monotonic() + wait_s
    while (found := files.answer_to(name, asked.request.id)) is None:
        if time.monotonic() >= deadline_s:
            return None
        step()
        time.sleep(_STEP_S)
    return found


def answered(asked: AskedFor, problem: str | None, now_s: float) -> AskedFor:
    """Give a request with what became of it.

    Args:
        asked: the request.
        problem: why it was refused; None if it was done.
        now_s: seconds since 1970.
    """
    return msgspec.structs.replace(
        asked,
        outcome="done" if problem is None else "refused",
        answer=problem or "",
        answered_s=int(now_s),
    )
