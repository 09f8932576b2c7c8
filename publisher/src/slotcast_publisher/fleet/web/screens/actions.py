"""What a person can do about a rollout: the effect in figures, the command, or why it cannot be."""

from __future__ import annotations

import shlex
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.fleet.access.roles import Permission, role_that_may
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.state_table import ROLLOUT, RolloutEvent, RolloutState
from slotcast_publisher.fleet.steering.overview_types import NOT_LET_IN, GroupView, RolloutView
from slotcast_publisher.fleet.web.asking import NEEDED
from slotcast_publisher.fleet.web.words import devices_words, size_words

_EVENTS: Final = {
    Wish.PAUSE: RolloutEvent.HELD,
    Wish.CANCEL: RolloutEvent.CANCELED,
    Wish.GO_BACK: RolloutEvent.WENT_BACK,
    Wish.RETRY: RolloutEvent.RETRIED,
}
_ASKS: Final = frozenset({Wish.RESUME, Wish.CANCEL, Wish.GO_BACK, Wish.RETRY})
"""Requests that ask once more, and for a reason."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be asked of a rollout.

    Attributes:
        wish: as the commands name it, such as `go-back`.
        label: of its button.
        effect: what it does, in figures.
        command: that does the same.
        refusal: why it cannot be asked for now; empty where it can.
        group: whose gate it opens.
        asks: whether it asks once more, for a reason.
        is_main: whether it is the one that suggests itself.
    """

    wish: str
    label: str
    effect: str
    command: str
    refusal: str = ""
    group: str = ""
    asks: bool = False
    is_main: bool = False


def actions_of(
    view: RolloutView, repo: str, may: AbstractSet[Permission], *, has_release_key: bool = False
) -> list[Action]:
    """Give what can be asked of a rollout, the one that suggests itself first.

    Args:
        view: where it stands.
        repo: the repository's folder, as commands name it.
        may: what the person may do.
        has_release_key: whether a way back can be released from here.
    """
    return [
        _action(wish, view, repo, may, has_release_key=has_release_key) for wish in _order(view)
    ]


def _order(view: RolloutView) -> list[Wish]:
    if view.state == RolloutState.PAUSED:
        return [Wish.GO_BACK, Wish.RESUME, Wish.CANCEL, Wish.RETRY]
    if any(group.waits_for for group in view.groups):
        return [Wish.OPEN_GATE, Wish.PAUSE, Wish.GO_BACK, Wish.CANCEL, Wish.RETRY]
    if view.state in {RolloutState.FINISHED, RolloutState.STOPPED}:
        return [Wish.GO_BACK, Wish.RETRY]
    return [Wish.PAUSE, Wish.GO_BACK, Wish.CANCEL, Wish.RETRY, Wish.OPEN_GATE]


def _action(
    wish: Wish,
    view: RolloutView,
    repo: str,
    may: AbstractSet[Permission],
    *,
    has_release_key: bool,
) -> Action:
    gate = _gate(view)
    group = gate.name if wish is Wish.OPEN_GATE and gate is not None else ""
    refusal = _refusal(wish, view, has_release_key=has_release_key) or _forbidden(wish, may)
    is_main = wish is _main(view) and not refusal
    return Action(
        wish=wish.replace("_", "-"),
        label=_label(wish, view, group),
        effect=_effect(wish, view, gate),
        command=_command(wish, view, repo, group),
        refusal=refusal,
        group=group,
        asks=wish in _ASKS,
        is_main=is_main,
    )


def _main(view: RolloutView) -> Wish | None:
    """Give the request that suggests itself: nothing is pressed lightly while all is well."""
    if view.state == RolloutState.PAUSED and view.pause is not None:
        return Wish.GO_BACK if view.pause.by == "limit" else Wish.RESUME
    return Wish.OPEN_GATE if _gate(view) is not None else None


def _gate(view: RolloutView) -> GroupView | None:
    return next((group for group in view.groups if group.waits_for), None)


def _label(wish: Wish, view: RolloutView, group: str) -> str:
    match wish:
        case Wish.GO_BACK:
            to = view.go_back_to or view.before
            return f"Go back to {to}…" if to else "Go back…"
        case Wish.OPEN_GATE:
            return f"Open the gate of {group}" if group else "Open the gate"
    return {
        Wish.PAUSE: "Pause",
        Wish.RESUME: "Resume…",
        Wish.CANCEL: "Cancel…",
        Wish.RETRY: "Try again…",
    }[wish]


# --- what it does ---------------------------------------------------------------------------------


def _effect(wish: Wish, view: RolloutView, gate: GroupView | None) -> str:
    match wish:
        case Wish.PAUSE:
            return _pause_effect(view)
        case Wish.RESUME:
            return _resume_effect(view)
        case Wish.CANCEL:
            return (
                f"Becomes STOPPED for good. {devices_words(_committed(view))} keep {view.version},"
                f" {devices_words(_under_way(view))} that are at it give it up."
            )
        case Wish.GO_BACK:
            return _back_effect(view)
        case Wish.RETRY:
            return (
                f"{devices_words(_failed(view))} that failed try again, as attempt"
                f" {view.attempt + 1}; limits that were accepted count again."
            )
        case _:
            return _gate_effect(view, gate)


def _pause_effect(view: RolloutView) -> str:
    left = sum(group.states.get(NOT_LET_IN, 0) + group.expected for group in view.groups)
    return (
        f"No more device begins: {devices_words(left)} wait, {devices_words(_under_way(view))} are"
        f" at it now. {devices_words(_committed(view))} keep {view.version}. Only a person lets it"
        " go on."
    )


def _resume_effect(view: RolloutView) -> str:
    limits = () if view.pause is None else view.pause.limits
    if not limits:
        return "Goes on where it stopped. Asks for a reason."
    names = ", ".join(key.partition("/")[2] for key in limits)
    return f"Goes on, and accepts {names} until the next attempt. Asks for a reason."


def _back_effect(view: RolloutView) -> str:
    leave = _committed(view)
    to = view.go_back_to or view.before or "the release before"
    effect = f"{devices_words(leave)} leave {view.version} for the content of {to}, and it ends."
    if view.whole_bytes:
        effect += (
            f" Who still holds {view.before or 'it'} in the standby slot fetches nothing; others"
            f" {size_words(view.whole_bytes)} at most."
        )
    return effect


def _gate_effect(view: RolloutView, gate: GroupView | None) -> str:
    if gate is None:
        return "No group waits at its gate."
    names = [group.name for group in view.groups]
    following = view.groups[names.index(gate.name) + 1 :]
    if not following:
        return f"{gate.name} passes, and the rollout is FINISHED."
    after = following[0]
    return (
        f"{gate.name} passes, and {after.name} may begin: {devices_words(after.members)},"
        f" {size_words(after.members * view.whole_bytes)} if every one took the whole image."
    )


def _committed(view: RolloutView) -> int:
    return sum(group.committed for group in view.groups)


def _failed(view: RolloutView) -> int:
    return sum(group.failed for group in view.groups)


def _under_way(view: RolloutView) -> int:
    return sum(group.under_way for group in view.groups)


# --- whether it can be ----------------------------------------------------------------------------


def _refusal(wish: Wish, view: RolloutView, *, has_release_key: bool) -> str:
    """Say why a request cannot be carried out as things stand; empty where it can."""
    if wish is Wish.RESUME:
        is_paused = view.state == RolloutState.PAUSED
        return "" if is_paused else f"Not now: it is {view.state}, and only a paused one resumes."
    if wish is Wish.OPEN_GATE:
        return "" if _gate(view) is not None else _no_gate(view)
    event = _EVENTS[wish]
    if event not in ROLLOUT[RolloutState(view.state)]:
        states = ", ".join(state for state, row in ROLLOUT.items() if event in row)
        return f"Not now: it is {view.state}. Possible in {states}."
    if wish is Wish.PAUSE and view.state == RolloutState.PAUSED:
        return "It is paused."
    if wish is Wish.RETRY and not _failed(view):
        return "Not now: no device has failed."
    if wish is Wish.GO_BACK and view.going_back:
        return "Not now: it goes back already."
    if wish is Wish.GO_BACK and not view.go_back_to and not has_release_key:
        return (
            "Not from here: the plan names no way back, so the old content must be released anew,"
            " which needs the model's release key. The command does both."
        )
    return ""


def _no_gate(view: RolloutView) -> str:
    working = [g for g in view.groups if g.state not in {"WAITING", "PASSED"}]
    if not working:
        return "Not now: no group waits at its gate."
    return f"Not now: {working[0].name} is {working[0].state}. A gate opens once it is AT_GATE."


def _forbidden(wish: Wish, may: AbstractSet[Permission]) -> str:
    needed = NEEDED[wish]
    return "" if needed in may else f"Not you: this needs the role {role_that_may(needed)}."


def _command(wish: Wish, view: RolloutView, repo: str, group: str) -> str:
    parts = ["slotcast", "rollout", wish.replace("_", "-"), repo, view.name]
    if wish is Wish.OPEN_GATE:
        parts.append(group or "GROUP")
    words = [shlex.quote(part) for part in parts]
    if wish in _ASKS:
        words.append("--why '…'")
    return " ".join(words)
