"""The status for people: what serves, what is under way, and what that waits for.

Records say it all but for what only the running agent knows (`reporting.agent_view`); where no
agent runs, that is said, with the age of what it left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core.signed_time import moment
from slotcast_device.reporting.release_words import ReleaseWords, lines_of_words
from slotcast_device.reporting.words import amount, duration, size
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import SETTLED, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slotcast_device.reporting.agent_view import AgentView
    from slotcast_schemas.messages import Status
    from slotcast_schemas.messages.status import Check, ModelStatus, Progress, SlotStatus

_COLLECTS: Final = frozenset({State.QUEUED, State.DOWNLOADING, State.DOWNLOADED, State.FAILED})
"""The states whose progress still means something."""
_AGENT_ACTS: Final = frozenset(State) - SETTLED - {State.QUEUED}
"""The states in which only a running agent goes on."""

CERTIFICATE_SHOWN_S: Final = 30 * 86_400
"""The seconds before a certificate's end from which on that is said."""


def lines_of(
    status: Status,
    view: AgentView | None,
    *,
    is_running: bool,
    with_evidence: bool,
    words: Mapping[str, ReleaseWords] | None = None,
    at_rest: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """Give the status of a device in lines.

    Args:
        status: as the records have it, completed by the view.
        view: what the agent last left, if anything.
        is_running: whether an agent holds the state directory.
        with_evidence: also what probe and trial found, check by check.
        words: what the release that serves says to people, by model.
        at_rest: how each slot lies on the disk, by model, where that is worth a word.
    """
    lines = [
        status.device,
        f"  agent     {_describe_agent(view, status.time, is_running=is_running)}",
    ]
    lines += _describe_left(view)
    lines += _describe_certificate(view, status.time)
    lines += _describe_clock(status)
    for model in status.models:
        says = (words or {}).get(model.model, ReleaseWords())
        lines += _describe_model(model, status.time, says, is_running=is_running)
        lines += _describe_at_rest((at_rest or {}).get(model.model, {}))
        if with_evidence:
            lines += _describe_evidence(model)
    return lines


def _describe_agent(view: AgentView | None, now_s: int, *, is_running: bool) -> str:
    if not is_running:
        left = f", last heard of {_describe_ago(view.written, now_s)}" if view is not None else ""
        return f"not running{left}: nothing goes on until it is started"
    if view is None:
        return "running, started just now"
    if view.is_connected:
        since = duration(now_s - view.since)
        return f"running, connected to {view.broker} (MQTT {view.protocol}) for {since}"
    why = view.problem or f"connecting to {view.broker or 'the first broker'}"
    return f"running, no connection for {duration(now_s - view.since)}: {why}"


def _describe_left(view: AgentView | None) -> Iterator[str]:
    """Say which brokers misbehaved, as far as the agent left it."""
    for said in () if view is None or view.link is None else view.link.left:
        yield f"  broker    left alone for a while: {said}"


def _describe_certificate(view: AgentView | None, now_s: int) -> Iterator[str]:
    """Say until when the device is let in, where that is not for long."""
    link = None if view is None else view.link
    if link is None or not link.certificate_ends:
        return
    left_s = link.certificate_ends - now_s
    if left_s < CERTIFICATE_SHOWN_S:
        said = "ended" if left_s <= 0 else f"ends in {duration(left_s)}"
        yield f"  certificate {said}, at {moment(link.certificate_ends)}"


def _describe_clock(status: Status) -> Iterator[str]:
    if status.clock != "ok":
        said = moment(status.time)
        yield f"  clock     {status.clock}: it says {said}; see `slotcast-device check`"


def _describe_model(
    model: ModelStatus, now_s: int, says: ReleaseWords, *, is_running: bool
) -> Iterator[str]:
    since = f" for {duration(now_s - model.since)}" if model.since else ""
    yield f"  {model.model:<9} {model.state} ({model.reason}){since}"
    if model.detail:
        yield f"    {'waits for' if model.state is State.TRIAL else 'detail':<9} {model.detail}"
    if model.state in _AGENT_ACTS and not is_running:
        yield "    note      goes on when the agent is started"
    if model.target is not None and model.state not in {State.COMMITTED, State.IDLE}:
        yield f"    target    {model.target.version} (sequence {model.target.sequence})"
    if model.progress is not None and model.state in _COLLECTS:
        yield f"    progress  {_describe_progress(model.progress)}"
    if model.notice == "stale":
        ended = moment(model.notice_expires)
        yield f"    notice    stale, its signatures ended at {ended}: the publisher must refresh it"
    yield f"    active    {_describe_slot(model.active)}"
    yield from lines_of_words(says, now_s)
    yield f"    standby   {_describe_slot(model.standby)}"
    if model.provisioned:
        held = "; updates wait for `slotcast-device resume`" if _is_held(model) else ""
        yield f"    original  {model.provisioned}, as provisioned{held}"
    for benched in model.benched:
        yield f"    benched   {benched.version} (sequence {benched.sequence}): {benched.reason}"


def _describe_at_rest(lies: Mapping[str, str]) -> Iterator[str]:
    if lies:
        words = {"encrypted": "encrypted", "clear": "in the clear until it is replaced"}
        said = ", ".join(f"slot {slot} {words[how]}" for slot, how in sorted(lies.items()))
        yield f"    at rest   {said}"


def _is_held(model: ModelStatus) -> bool:
    return model.reason == Reason.SET_BACK


def _describe_slot(slot: SlotStatus | None) -> str:
    return (
        "empty" if slot is None else f"{slot.version} (sequence {slot.sequence}), slot {slot.slot}"
    )


def _describe_progress(progress: Progress) -> str:
    share = progress.verified_bytes / max(1, progress.size_bytes)
    text = f"{size(progress.verified_bytes)} of {size(progress.size_bytes)} ({share:.0%})"
    if progress.rate_bytes_per_s:
        left_s = (progress.size_bytes - progress.verified_bytes) / progress.rate_bytes_per_s
        text += f", {size(progress.rate_bytes_per_s)}/s, about {duration(left_s)} left"
    text += f"; {progress.codec}"
    if progress.saved_bytes:
        text += f", {size(progress.saved_bytes)} saved"
    return text


def _describe_evidence(model: ModelStatus) -> Iterator[str]:
    if model.evidence is None:
        yield "    evidence  none"
        return
    yield f"    evidence  of sequence {model.evidence.sequence}"
    for check in model.evidence.checks:
        yield f"      {_describe_check(check)}".rstrip()


def _describe_check(check: Check) -> str:
    parts = [f"{'ok  ' if check.passed else 'FAIL'} {check.name:<16}"]
    for word, value in (("", check.value), ("limit ", check.limit), ("before ", check.reference)):
        if value is not None:
            parts.append(f"{word}{amount(check.name, value)}")
    return "  ".join([*parts, check.detail])


def _describe_ago(then_s: int, now_s: int) -> str:
    return f"{duration(now_s - then_s)} ago" if then_s <= now_s else "a time in the future"
