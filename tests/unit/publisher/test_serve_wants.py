"""The part of `serve` that decides what is sent again for wants, when, and how much at most."""

from __future__ import annotations

import random

from slotcast_publisher.serve.budgets import Asker, Budgets
from slotcast_publisher.serve.day_budget import DEVICES_MAX
from slotcast_publisher.serve.wants import Answers, WantBounds, WantedPiece
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.want import WantedBlock

CHUNK_BYTES = 1024
RELAXED = WantBounds(rate_bytes_per_s=1e9)


def payload(number: int = 1, chunks: int = 256) -> Payload:
    return Payload(
        codec="full+none",
        sha256=bytes([number]) * 32,
        size_bytes=chunks * CHUNK_BYTES,
        chunk_size_bytes=CHUNK_BYTES,
        map_parts=(bytes(32),),
    )


def want(
    of: Payload, *blocks: tuple[int, int], device: str = "cam-1", parts: tuple[int, ...] = ()
) -> Want:
    return Want(
        device=device,
        payload=of.sha256,
        map_parts=parts,
        blocks=tuple(WantedBlock(block=block, missing=bits) for block, bits in blocks),
    )


class Asked(Answers):
    """Takes wants as if each came on its device's own topic, unless a test says otherwise."""

    def take(self, said: Want, of: Payload, now_s: float, *, is_proven: bool = True) -> int:
        return self.want(said, of, now_s, is_proven=is_proven)


def answers(bounds: WantBounds = RELAXED, settings: ServeSettings | None = None) -> Asked:
    return Asked(bounds, random.Random(1), Budgets(settings or ServeSettings()))


def chunks(found: list[tuple[WantedPiece, Payload]]) -> list[int]:
    return [piece.number for piece, _ in found if not piece.is_map]


def all_due(core: Answers, until_s: float, from_s: float = 0.0) -> list[tuple[float, WantedPiece]]:
    """Run the core as the shell does: look whenever it says that something is due."""
    found: list[tuple[float, WantedPiece]] = []
    now_s = from_s
    while (deadline_s := core.deadline_s()) is not None and deadline_s <= until_s:
        now_s = max(now_s + 1e-6, deadline_s)
        found += [(now_s, piece) for piece, _ in core.due(now_s, room=20)]
    return found


def test_a_thousand_devices_that_miss_one_block_cause_one_answer() -> None:
    core, image = answers(), payload()
    rng = random.Random(7)
    for number in range(1000):
        core.take(want(image, (3, 0xFF), device=f"cam-{number}"), image, rng.uniform(0, 0.15))

    sent = [piece.number for _, piece in all_due(core, until_s=60)]

    assert sorted(sent) == list(range(24, 32))
    assert core.counts.asked == 8000
    assert core.counts.joined == 7992


def test_nothing_is_sent_before_the_window_that_others_may_join_is_over() -> None:
    core, image = answers(), payload()
    core.take(want(image, (0, 1)), image, 10.0)

    assert core.due(10.0 + RELAXED.window_s[0] - 0.01, room=20) == []
    deadline_s = core.deadline_s()
    assert deadline_s is not None
    assert RELAXED.window_s[0] <= deadline_s - 10.0 <= RELAXED.window_s[1]
    assert chunks(core.due(deadline_s, room=20)) == [0]


def test_windows_are_jittered() -> None:
    rng = random.Random(1)
    ends = set()
    for _ in range(20):
        core, image = Asked(RELAXED, rng), payload()
        core.take(want(image, (0, 1)), image, 0.0)
        ends.add(core.deadline_s())
    assert len(ends) == 20


def test_a_piece_just_sent_is_sent_again_only_after_a_while() -> None:
    core, image = answers(), payload()
    core.take(want(image, (0, 1)), image, 0.0)
    ((first_s, _),) = all_due(core, until_s=1.0)
    core.take(want(image, (0, 1), device="late"), image, first_s + 0.01)

    ((second_s, _),) = all_due(core, until_s=60.0, from_s=first_s)

    assert second_s - first_s >= RELAXED.again_s


def test_parts_of_the_map_are_answered_too() -> None:
    core, image = answers(), payload()
    core.take(want(image, parts=(0,)), image, 0.0)
    assert [piece.is_map for _, piece in all_due(core, until_s=1.0)] == [True]


def test_pieces_that_the_payload_does_not_have_are_refused() -> None:
    core, image = answers(), payload(chunks=10)
    core.take(want(image, (1, 0b1111_1111), (900, 1), parts=(0, 1, 400)), image, 0.0)

    sent = [(piece.is_map, piece.number) for _, piece in all_due(core, until_s=1.0)]

    assert sorted(sent) == [(False, 8), (False, 9), (True, 0)]
    assert core.counts.refused == 6 + 1 + 2


def test_a_device_that_asks_without_end_has_a_bounded_place_in_line() -> None:
    core, image = answers(WantBounds(device_waiting_max=16, rate_bytes_per_s=1e9)), payload()
    new = [core.take(want(image, (block, 0xFF)), image, 0.0) for block in range(32)]
    assert sum(new) == 16
    assert core.take(want(image, (30, 0xFF), device="another"), image, 0.0) == 8


def test_what_waits_stays_bounded_whoever_asks() -> None:
    bounds = WantBounds(waiting_max=64, payload_waiting_max=40, places_max=100)
    core, first, second = answers(bounds), payload(1), payload(2)
    for number in range(100):
        for image in (first, second):
            core.take(want(image, (number % 32, 0xFF), device=f"d{number}"), image, 0.0)
    assert core.waiting == 64


def test_what_is_remembered_of_devices_stays_bounded() -> None:
    """The one that asked longest ago is forgotten, never the one that asks all the time."""
    budgets, image = Budgets(ServeSettings(device_day_payloads=1, day_min_bytes=0)), payload()
    greedy = Asker("greedy", is_proven=True)
    assert budgets.take(greedy, image, image.size_bytes, 0.0)
    for number in range(DEVICES_MAX + 500):
        assert budgets.take(Asker(f"d{number}", is_proven=True), image, 1, 0.0)
        assert number % 1000 or not budgets.take(greedy, image, CHUNK_BYTES, 0.0)
    assert budgets.devices == DEVICES_MAX


def test_answers_keep_to_the_rate() -> None:
    rate = 64 * CHUNK_BYTES
    core, image = answers(WantBounds(rate_bytes_per_s=rate)), payload()
    core.take(want(image, *((block, 0xFF) for block in range(32))), image, 0.0)

    sent = all_due(core, until_s=600.0)

    assert len(sent) == 256
    for at_s, _ in sent:
        by_then = sum(1 for when_s, _ in sent if when_s <= at_s) * CHUNK_BYTES
        assert by_then <= rate * (at_s + 0.5) + 20 * CHUNK_BYTES


def test_devices_take_turns_so_that_a_greedy_one_starves_nobody() -> None:
    core, large, small = answers(), payload(1), payload(2)
    core.take(want(large, *((block, 0xFF) for block in range(32))), large, 0.0)
    core.take(want(small, (0, 0b11), device="modest"), small, 0.0)

    first = core.due(1.0, room=4)

    assert [piece.payload for piece, _ in first].count(small.sha256) == 2


def test_a_payload_that_everybody_asks_for_starves_no_other() -> None:
    """What was sent once for many devices was sent to each of them: another is behind."""
    core, popular, rare = answers(), payload(1), payload(2)
    for number in range(200):
        blocks = ((block, 0xFF) for block in range(8))
        core.take(want(popular, *blocks, device=f"d{number}"), popular, 0.0)
    core.take(want(rare, *((block, 0xFF) for block in range(4)), device="alone"), rare, 0.0)

    first = core.due(1.0, room=64)

    assert [piece.payload for piece, _ in first].count(rare.sha256) == 32


def test_a_device_with_large_chunks_gets_no_more_bytes_than_one_with_small_ones() -> None:
    core, small = answers(), payload(1)
    large = Payload(
        codec="full+none",
        sha256=bytes([2]) * 32,
        size_bytes=64 * 32 * CHUNK_BYTES,
        chunk_size_bytes=32 * CHUNK_BYTES,
        map_parts=(bytes(32),),
    )
    blocks = [(block, 0xFF) for block in range(8)]
    core.take(want(large, *blocks, device="greedy"), large, 0.0)
    core.take(want(small, *blocks, device="modest"), small, 0.0)

    first = core.due(1.0, room=34)

    assert [piece.payload for piece, _ in first].count(small.sha256) >= 32


def test_invented_names_take_at_most_half_from_a_device_with_a_proven_one() -> None:
    core, image, other = answers(), payload(1), payload(2)
    for number in range(500):
        invented = want(other, (number % 32, 0xFF), device=f"invented-{number}")
        core.take(invented, other, 0.0, is_proven=False)
    core.take(want(image, *((block, 0xFF) for block in range(4))), image, 0.0)

    first = core.due(1.0, room=64)

    assert [piece.payload for piece, _ in first].count(image.sha256) >= 31


def test_devices_of_before_get_half_while_one_with_a_proven_name_asks_for_everything() -> None:
    core, image, other = answers(), payload(1), payload(2)
    core.take(want(image, *((block, 0xFF) for block in range(32))), image, 0.0)
    blocks = ((block, 0xFF) for block in range(32))
    core.take(want(other, *blocks, device="of-before"), other, 0.0, is_proven=False)

    first = core.due(1.0, room=500)

    assert 124 <= [piece.payload for piece, _ in first[:250]].count(other.sha256) <= 126


def test_invented_names_leave_room_for_those_that_are_proven() -> None:
    core, image, other = (
        answers(WantBounds(waiting_max=64, rate_bytes_per_s=1e9)),
        payload(),
        payload(2),
    )
    for number in range(500):
        invented = want(other, (number % 32, 0xFF), device=f"invented-{number}")
        core.take(invented, other, 0.0, is_proven=False)
    assert core.waiting == 32
    assert core.take(want(image, (0, 0xFF)), image, 0.0) == 8


def test_a_name_that_is_only_claimed_takes_nothing_from_who_bears_it() -> None:
    settings = ServeSettings(device_day_payloads=1, claimed_day_payloads=1, day_min_bytes=0)
    core, image = answers(RELAXED, settings), payload(chunks=16)
    for second in range(10):
        false = want(image, (0, 0xFF), (1, 0xFF), device="cam-1")
        core.take(false, image, second * 10.0, is_proven=False)
        core.due(second * 10.0 + 5, room=20)
    assert core.counts.sent == 16  # the budget that all claimed names have in common

    assert core.take(want(image, (0, 0xFF), device="cam-1"), image, 99.0) == 8


def test_a_device_is_sent_a_payload_a_few_times_a_day_and_no_more() -> None:
    settings = ServeSettings(device_day_payloads=3, day_min_bytes=0)
    core, image = answers(RELAXED, settings), payload(chunks=64)
    blocks = [(block, 0xFF) for block in range(8)]
    sent = 0
    for second in range(0, 86_400, 60):
        core.take(want(image, *blocks), image, float(second))
        sent += len(core.due(second + 30.0, room=100))

    assert 5.5 * 64 <= sent <= 6 * 64  # three at once, and three that came within the day
    assert core.counts.over_budget > 0
    assert [(spent.device, spent.day_bytes) for spent in core.budgets.to_say] == [
        ("cam-1", 3 * 64 * CHUNK_BYTES)
    ]
    assert core.take(want(image, (0, 1), device="another"), image, 86_400.0) == 1


def test_those_who_share_an_answer_share_its_cost() -> None:
    settings = ServeSettings(device_day_payloads=2, day_min_bytes=0)
    core, image = answers(RELAXED, settings), payload(chunks=64)
    blocks = [(block, 0xFF) for block in range(8)]
    for second in (0.0, 10.0, 20.0):  # each of them alone could have it twice
        for device in ("one", "two"):
            core.take(want(image, *blocks, device=device), image, second)
        assert len(core.due(second + 5.0, room=100)) == 64
    assert core.take(want(image, *blocks, device="one"), image, 30.0) == 32


def test_who_has_spent_its_budget_gets_what_others_are_sent_anyway() -> None:
    settings = ServeSettings(device_day_payloads=1, day_min_bytes=0)
    core, image = answers(RELAXED, settings), payload(chunks=8)
    core.take(want(image, (0, 0xFF), device="spent"), image, 0.0)
    assert len(core.due(1.0, room=20)) == 8
    core.take(want(image, (0, 0xFF), device="another"), image, 10.0)
    core.take(want(image, (0, 0xFF), device="spent"), image, 10.0)
    assert core.counts.refused == 0
    assert len(core.due(20.0, room=20)) == 8


def test_what_was_let_go_of_costs_nobody_anything() -> None:
    settings = ServeSettings(device_day_payloads=1, day_min_bytes=0)
    core, image = answers(RELAXED, settings), payload(chunks=8)
    core.take(want(image, (0, 0xFF)), image, 0.0)
    core.forget_payloads(set())
    assert core.waiting == 0
    assert core.budgets.devices == 0
    assert core.take(want(image, (0, 0xFF)), image, 1.0) == 8


def test_a_device_that_asks_for_every_payload_there_is_has_so_many_budgets_and_no_more() -> None:
    core = answers(RELAXED)
    new = [core.take(want(payload(n), (0, 1)), payload(n), 0.0) for n in range(1, 60)]
    assert sum(new) == 32
    assert core.take(want(payload(59), (0, 1)), payload(59), 86_400.0) == 1  # it is full again


def test_what_waits_for_a_payload_that_is_not_offered_any_more_is_let_go() -> None:
    core, old, new = answers(), payload(1), payload(2)
    core.take(want(old, (0, 0xFF)), old, 0.0)
    core.take(want(new, (0, 1)), new, 0.0)
    core.forget_payloads({new.sha256})
    assert core.waiting == 1
    assert [piece.payload for _, piece in all_due(core, until_s=9.0)] == [new.sha256]
