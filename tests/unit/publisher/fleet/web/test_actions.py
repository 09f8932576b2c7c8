"""What can be asked of a rollout: with its effect and its command, or why it cannot be."""

from __future__ import annotations

import shlex

import pytest

from slotcast_publisher.fleet.access.roles import PERMISSIONS, Role
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.screens.actions import Action, actions_of
from tests.support import rollout_views as views

ADMIN = PERMISSIONS[Role.ADMIN]


def actions(view: RolloutView, role: Role = Role.ADMIN) -> dict[str, Action]:
    return {a.wish: a for a in actions_of(view, "/srv/my models", PERMISSIONS[role])}


def test_a_pause_by_a_limit_suggests_to_go_back_where_the_way_is_signed() -> None:
    found = actions(views.paused(go_back_to="3.2.1.post1"))

    assert next(iter(found)) == "go-back"
    assert found["go-back"].is_main
    assert found["go-back"].label == "Go back to 3.2.1.post1…"
    assert "34 devices leave 3.3.0" in found["go-back"].effect
    assert "1.12 MB at most" in found["go-back"].effect


def test_a_way_back_that_needs_a_key_is_not_on_the_page_and_says_why() -> None:
    found = actions(views.paused())["go-back"]

    assert found.refusal.startswith("Not from here: the plan names no way back")
    assert not found.is_main


def test_resuming_says_what_is_accepted_by_it() -> None:
    found = actions(views.paused())["resume"]

    assert "accepts max_latency_p95_ratio until the next attempt" in found.effect
    assert found.asks


def test_while_it_runs_it_can_be_paused_and_not_resumed() -> None:
    found = actions(views.running())

    assert found["pause"].refusal == ""
    assert found["pause"].effect.startswith("No more device begins: 200 devices wait, 5 devices")
    assert found["resume" if "resume" in found else "open-gate"].refusal.startswith("Not now")
    assert "canary is RUNNING" in found["open-gate"].refusal
    assert found["retry"].refusal == "Not now: no device has failed."


def test_a_gate_names_the_group_behind_it_and_what_it_may_cost() -> None:
    groups = (
        views.canary(state="AT_GATE", failed=0, waits_for=("person",)),
        views.group("everyone", "WAITING"),
    )
    found = actions(views.running(groups=groups))["open-gate"]

    assert found.is_main
    assert found.group == "canary"
    assert (
        "everyone may begin: 100 devices, 112 MB if every one took the whole image" in found.effect
    )
    assert found.command.endswith(" d-3.3.0 canary")


def test_commands_can_be_pasted_into_a_shell() -> None:
    words = shlex.split(actions(views.paused())["cancel"].command)

    assert words == ["slotcast", "rollout", "cancel", "/srv/my models", "d-3.3.0", "--why", "…"]


def test_who_may_not_sees_the_choice_and_which_role_it_needs() -> None:
    viewer, operator = actions(views.paused(), Role.VIEWER), actions(views.paused(), Role.OPERATOR)

    assert viewer["resume"].refusal == "Not you: this needs the role operator."
    assert operator["resume"].refusal == ""
    assert operator["cancel"].refusal == "Not you: this needs the role admin."


@pytest.mark.parametrize("state", RolloutState)
def test_in_every_state_each_choice_is_possible_or_says_why_not(state: RolloutState) -> None:
    view = views.paused(state=state, pause=None if state != "PAUSED" else views.paused().pause)

    for action in actions(view).values():
        assert action.effect
        assert action.label
        assert action.command.startswith("slotcast rollout ")
    if state == RolloutState.STOPPED:
        assert "pause" not in actions(view) or actions(view)["pause"].refusal
