"""Steering: what is decided is durable before it is signed, and each step is signed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.database.database import open_database
from slotcast_publisher.fleet.database.rollouts import put_view
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.plan import read_plan
from slotcast_publisher.fleet.rollout.record import new_record
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_publisher.fleet.steering.delta_maker import NoDeltas
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.late_deltas import Bases, late_deltas
from slotcast_publisher.fleet.steering.overview import overview
from slotcast_publisher.fleet.steering.plan_check import problem_of_name
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.saved_views import (
    SavedViews,
    saved_view,
    with_what_gates_said,
)
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.offer import Offer
from slotcast_schemas.states import State
from tests.fleet_simulation.fleet import SimDevice
from tests.support import messages
from tests.support.latencies import histogram
from tests.support.steering import PLAN, Killed, SteeredFleet, signed_words
from tests.support.waiting import wait_until


def test_a_rollout_goes_through_its_groups_and_each_step_is_signed_once(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.FINISHED)

    assert {sim.state for sim in world.sims} == {State.COMMITTED}
    assert {sim.runs for sim in world.sims} == {2}
    assert signed_words(world) == [
        "2 active as r1 for canary 20 %",
        "2 active as r1 for canary 20 %, everyone 50 %",
        "2 active as r1 for canary 20 %, everyone",
    ]


def test_the_record_is_durable_before_the_offer_that_it_causes_is_signed(
    world: SteeredFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    save, sign = RolloutFiles.save_record, Repository.sign

    def saved(self: RolloutFiles, record: Any) -> None:
        save(self, record)
        order.append("record" if record.groups[0].state is not GroupState.WAITING else "-")

    def signed(self: Repository, offer: Offer) -> bytes:
        assert "record" in order
        order.append("offer")
        return sign(self, offer)

    monkeypatch.setattr(RolloutFiles, "save_record", saved)
    monkeypatch.setattr(Repository, "sign", signed)
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    assert order[-2:] == ["record", "offer"]


# --- several rollouts -----------------------------------------------------------------------------


def test_a_rollout_whose_stepping_stone_was_rolled_out_before_takes_it_over(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.FINISHED)
    following = PLAN.replace("r1", "r2").replace('version = "2"', 'version = "1.post1"')
    world.start(following.replace("name =", 'stepping_stones = ["2"]\nname =', 1))
    world.until("r2", RolloutState.FINISHED)
    world.turns(10)
    assert {sim.runs for sim in world.sims} == {3}
    assert world.record("r1").state is RolloutState.FINISHED
    words = [word for word, text in world.fleet.lines if "by hand" in text or word == "paused"]
    assert words == []
    signed = [text for word, text in world.fleet.lines if word == "signed"]
    assert len(signed) == len(set(signed)), signed


def test_what_a_rollout_went_back_to_is_rolled_out_by_the_next(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.FINISHED)
    world.ask("r1", Wish.GO_BACK, to="1.post1")
    world.until("r1", RolloutState.STOPPED)
    world.turns(5)
    world.start(PLAN.replace("r1", "r2").replace('version = "2"', 'version = "1.post1"'))
    world.until("r2", RolloutState.FINISHED)
    before = len([word for word, _ in world.fleet.lines if word == "signed"])
    world.turns(10)
    assert len([word for word, _ in world.fleet.lines if word == "signed"]) == before
    asked = world.ask("r1", Wish.GO_BACK, to="1.post1")
    world.turns(2)
    found = world.files.answer_to("r1", asked.request.id)
    assert found is not None
    assert "r2 has taken its place" in found.answer


# --- persons --------------------------------------------------------------------------------------


def test_what_a_person_asks_for_is_carried_out_and_answered_whatever_the_pace(
    world: SteeredFleet,
) -> None:
    start = world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    pause = world.ask("r1", Wish.PAUSE, why="lunch")
    world.steering.look(world.clock.now_s)  # no time has passed

    found = world.files.answer_to("r1", pause.request.id)
    assert found is not None
    assert found.outcome == "done"
    assert world.files.answer_to("r1", start.request.id) is not None
    assert world.announced is not None
    assert world.announced.state == "paused"
    assert world.record("r1").pause is not None
    assert ("asked_to_pause", "lunch") in world.fleet.lines
    world.turns(20)
    assert world.record("r1").state is RolloutState.PAUSED
    assert {sim.runs for sim in world.sims} == {1}


def test_what_cannot_be_done_is_refused_with_why_and_asked_no_more(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    asked = world.ask("r1", Wish.OPEN_GATE, group="nowhere")
    world.turn()
    found = world.files.answer_to("r1", asked.request.id)
    assert found is not None
    assert found.outcome == "refused"
    assert "no group 'nowhere'" in found.answer
    assert world.files.requests("r1") == []


def test_a_person_asks_while_a_serve_that_just_died_had_carried_it_out(
    world: SteeredFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.ask("r1", Wish.RETRY)
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise Killed

        patch.setattr(RolloutFiles, "answer", dies)
        with pytest.raises(Killed):
            world.turn()
    world.turns(2)
    assert world.record("r1").attempt == 2


def test_a_second_rollout_of_the_same_release_is_refused(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.turns(2)
    asked = world.start(PLAN.replace('"r1"', '"r2"'))
    world.turns(2)
    found = world.files.answer_to("r2", asked.request.id)
    assert found is not None
    assert "r1 rolls clf 2 out already" in found.answer


def test_a_plan_whose_start_was_refused_is_started_by_the_same_command_later(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.turns(2)
    later = PLAN.replace('"r1"', '"r2"')
    world.start(later)
    world.turns(2)
    assert world.record("r2").state is RolloutState.DRAFT
    world.ask("r1", Wish.CANCEL)
    world.turns(2)
    assert problem_of_name(world.steering.repo, read_plan(later, "plan")) is None
    changed = read_plan(later.replace("soak_s = 60", "soak_s = 0"), "plan")
    assert problem_of_name(world.steering.repo, changed) is not None
    asked = world.start(later)
    assert world.files.is_never_started("r2") is False
    world.turns(2)
    found = world.files.answer_to("r2", asked.request.id)
    assert found is not None
    assert found.outcome == "done"
    assert problem_of_name(world.steering.repo, read_plan(later, "plan")) is not None


def test_starting_the_same_plan_twice_is_one_rollout_and_another_plan_is_refused(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.start(PLAN)
    assert len(world.files.requests("r1")) == 1
    with pytest.raises(Conflict, match="started with another plan"):
        world.start(PLAN.replace("soak_s = 60", "soak_s = 0"))


def test_a_plan_in_a_zone_that_nobody_knows_is_refused_at_the_start(world: SteeredFleet) -> None:
    with pytest.raises(UsageError, match="time_zone: expected a name such as Europe/Berlin"):
        world.start('time_zone = "Europe/Atlantis"\n' + PLAN)


def test_a_plan_that_was_changed_since_is_not_gone_by(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.turns(2)
    (world.path / "rollouts" / "r1" / "plan.toml").write_text(PLAN.replace("20", "90"))
    before = world.steering.repo.present_offer("clf")
    world.turns(10)
    assert world.steering.repo.present_offer("clf") == before
    problems = [fields["detail"] for event, fields in world.said if event == "error"]
    assert len(problems) == 1
    assert "plan.toml was changed since" in problems[0]


# --- the way back ---------------------------------------------------------------------------------


def test_going_back_offers_the_old_content_to_those_that_were_let_in(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.turns(2)
    had = {sim.id for sim in world.sims if sim.runs == 2}
    assert had
    world.ask("r1", Wish.GO_BACK, to="1.post1")
    world.turns(2)

    assert world.record("r1").state is RolloutState.STOPPED
    assert world.announced is not None
    assert (world.announced.version, world.announced.deployment) == ("1.post1", "r1.back")
    assert {sim.id for sim in world.sims if sim.runs == 3} == had
    assert {sim.runs for sim in world.sims} == {1, 3}


def test_there_is_no_way_back_to_an_older_sequence(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    asked = world.ask("r1", Wish.GO_BACK, to="1")
    world.turn()
    found = world.files.answer_to("r1", asked.request.id)
    assert found is not None
    assert "1 has sequence 1, and devices refuse what is not above 2" in found.answer


# --- the offer ------------------------------------------------------------------------------------


def test_an_offer_by_hand_while_it_looks_is_never_written_over(
    world: SteeredFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start(PLAN)
    world.turns(4)
    assert world.record("r1").state is RolloutState.PREPARING
    want = world.deltas.want

    def by_hand(*given: Any) -> bool:  # after the present offer was read
        Repository(world.path, now_s=world.clock).offer("clf", "1", OfferWanted(state="paused"))
        return want(*given)

    monkeypatch.setattr(type(world.deltas), "want", lambda _, *given: by_hand(*given))
    world.turn()
    present = world.steering.repo.present_offer("clf")
    assert present is not None
    assert (present.version, present.state) == ("1", "paused")


def test_bad_live_latency_on_a_third_of_the_canaries_pauses_in_the_first_group(
    world: SteeredFleet,
) -> None:
    world.sims += [s for n in range(100) if (s := _more(world, n)) is not None]
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.turn()
    canaries = [sim.id for sim in world.sims if sim.runs == 2]
    old = ReleaseFigures(requests=1000, latency=histogram(0.010))
    for number, name in enumerate(canaries):
        new = histogram(0.060 if number % 3 == 0 else 0.011)
        world.figures[name] = {1: old, 2: ReleaseFigures(requests=1000, latency=new)}
    world.turns(3)

    record = world.record("r1")
    assert record.state is RolloutState.PAUSED
    assert record.pause is not None
    assert record.pause.by == "limit"
    assert "max_latency_p50_ratio in canary" in record.pause.why
    assert {sim.id for sim in world.sims if sim.runs == 2} == set(canaries)


def _more(world: SteeredFleet, number: int) -> Any:
    from tests.fleet_simulation.fleet import SimDevice

    return SimDevice(f"more{number}", {}, runs=1, fates=dict(world.sims[0].fates))


def test_deltas_are_wanted_from_what_devices_run_the_most_common_first(
    world: SteeredFleet,
) -> None:
    world.deltas.are_made = False
    world.start(PLAN)
    world.turns(10)
    assert world.record("r1").state is RolloutState.PREPARING
    assert world.deltas.wanted[-1] == ("clf", "2", ("1",))
    world.deltas.are_made = True
    world.until("r1", RolloutState.RUNNING)


def present(world: SteeredFleet) -> Offer:
    found = world.steering.repo.present_offer("clf")
    assert found is not None
    return found


def test_devices_wait_for_late_deltas_until_it_is_said_once_that_none_will_come(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.turn()
    assert (present(world).delta_wait_s, present(world).no_delta_from) == (600, ())
    world.deltas.hopeless.add("1")
    late = SimDevice("late", {}, runs=1, fates=dict(world.sims[0].fates))
    world.sims.append(late)
    world.turns(5)
    assert present(world).no_delta_from == (1,)
    said = [w for w in signed_words(world) if w.endswith("with releases from which no delta comes")]
    assert len(said) == 1


def test_nobody_waits_where_no_deltas_are_made(world: SteeredFleet) -> None:
    alone = world.process("first", deltas=NoDeltas())
    world.start(PLAN.replace("soak_s", "prepare_s = 0\nsoak_s"))
    for _ in range(400):
        world.turn(alone)
        if world.record("r1").state is RolloutState.RUNNING:
            break
    assert present(world).version == "2"
    assert present(world).delta_wait_s == 0


@pytest.mark.parametrize(
    ("going_back", "changes", "wait_s"),
    [
        (False, (), 600),
        (False, ("mends_fault",), 600),
        (False, ("mends_vulnerability",), 0),
        (True, (), 0),
    ],
)
def test_nobody_waits_to_mend_a_vulnerability_or_to_go_back(
    *, going_back: bool, changes: tuple[str, ...], wait_s: int
) -> None:
    plan = read_plan(PLAN, "plan")
    record = new_record(plan).changed(going_back=going_back)
    release = messages.release(version="2", changes=changes)
    bases = Bases("2", {5: 10, 3: 2, 1: 1}, {3})
    late = late_deltas(plan, record, release, bases, ())
    assert late.wait_s == wait_s
    assert late.none_from == ((5, 1) if wait_s else ())


def test_nothing_is_looked_at_while_devices_are_not_heard_but_a_person_is(
    world: SteeredFleet,
) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.steering.hears = lambda: False
    before = world.record("r1")
    world.turns(10)
    assert world.record("r1") == before
    world.ask("r1", Wish.PAUSE)
    world.turn()
    assert world.record("r1").state is RolloutState.PAUSED


# --- what pages see -------------------------------------------------------------------------------


def test_who_looks_alone_is_told_what_a_gate_said_last(world: SteeredFleet, tmp_path: Path) -> None:
    gate = 'gate = { command = ["/bin/sh", "-c", "echo too many orders; exit 75"] }'
    with open_database(tmp_path / "fleet.db") as database:
        world.steering.views = SavedViews(DatabaseFleet(database))
        world.start(PLAN.replace("percent = 20", f"percent = 20\n{gate}"))
        while world.record("r1").groups[0].state is not GroupState.AT_GATE:
            world.turn()
        world.turn()
        wait_until(lambda: bool(world.steering.gates.answers()))
        world.turn()
        repo, files = world.steering.repo, world.steering.files
        looked = overview(repo, files, "r1", world.devices(), 0, world.clock())
        told = with_what_gates_said(database, looked, world.clock())
        late = with_what_gates_said(database, looked, world.clock() + 3600)
    assert looked.waits_for == ("canary: command to open its gate",)
    assert told.waits_for == ("canary: command says not yet: too many orders", *looked.waits_for)
    assert late == looked


def test_what_was_seen_is_kept_for_pages_and_is_what_a_look_of_their_own_would_show(
    world: SteeredFleet, tmp_path: Path
) -> None:
    with open_database(tmp_path / "fleet.db") as database:
        world.steering.views = SavedViews(DatabaseFleet(database))
        world.start(PLAN)
        world.until("r1", RolloutState.FINISHED)
        world.steering.drive("r1")
        with database.reading() as connection:
            kept = saved_view(connection, "r1")
        repo, files = world.steering.repo, world.steering.files
        looked = overview(repo, files, "r1", world.devices(), 0, world.clock())
        assert kept is not None
        same = msgspec.structs.replace(looked, looked_s=kept.view.looked_s)
        assert kept.view == same
        assert kept.at_s == int(world.clock())
        with database.transaction() as connection:
            put_view(connection, "clf", "r1", b'{"name": 7}', kept.at_s)
        with database.reading() as connection:
            assert saved_view(connection, "r1") is None, "of another version: looked at anew"
