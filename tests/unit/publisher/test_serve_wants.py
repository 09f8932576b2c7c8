"""The part of `serve` that decides what is sent again for wants, when, and how much at most."""

from __future__ import annotations

import random

from slotcast_publisher.serve.wants import DEVICES_MAX, Answers, WantBounds, WantedPiece
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


def answers(bounds: WantBounds = RELAXED) -> Answers:
    return Answers(bounds, random.Random(1))


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
        core.want(want(image, (3, 0xFF), device=f"cam-{number}"), image, rng.uniform(0, 0.15))

    sent = [piece.number for _, piece in all_due(core, until_s=60)]

    assert sorted(sent) == list(range(24, 32))
    assert core.counts.asked == 8000
    assert core.counts.joined == 7992


def test_nothing_is_sent_before_the_window_that_others_may_join_is_over() -> None:
    core, image = answers(), payload()
    core.want(want(image, (0, 1)), image, 10.0)

    assert core.due(10.0 + RELAXED.window_s[0] - 0.01, room=20) == []
    deadline_s = core.deadline_s()
    assert deadline_s is not None
    assert RELAXED.window_s[0] <= deadline_s - 10.0 <= RELAXED.window_s[1]
    assert chunks(core.due(deadline_s, room=20)) == [0]


def test_windows_are_jittered() -> None:
    rng = random.Random(1)
    ends = set()
    for _ in range(20):
        core, image = Answers(RELAXED, rng), payload()
        core.want(want(image, (0, 1)), image, 0.0)
        ends.add(core.deadline_s())
    assert len(ends) == 20


def test_a_piece_just_sent_is_sent_again_only_after_a_while() -> None:
    core, image = answers(), payload()
    core.want(want(image, (0, 1)), image, 0.0)
    ((first_s, _),) = all_due(core, until_s=1.0)
    core.want(want(image, (0, 1), device="late"), image, first_s + 0.01)

    ((second_s, _),) = all_due(core, until_s=60.0, from_s=first_s)

    assert second_s - first_s >= RELAXED.again_s


def test_parts_of_the_map_are_answered_too() -> None:
    core, image = answers(), payload()
    core.want(want(image, parts=(0,)), image, 0.0)
    assert [piece.is_map for _, piece in all_due(core, until_s=1.0)] == [True]


def test_pieces_that_the_payload_does_not_have_are_refused() -> None:
    core, image = answers(), payload(chunks=10)
    core.want(want(image, (1, 0b1111_1111), (900, 1), parts=(0, 1, 400)), image, 0.0)

    sent = [(piece.is_map, piece.number) for _, piece in all_due(core, until_s=1.0)]

    assert sorted(sent) == [(False, 8), (False, 9), (True, 0)]
    assert core.counts.refused == 6 + 1 + 2


def test_a_device_that_asks_without_end_is_held_to_its_budget() -> None:
    bounds = WantBounds(device_pieces=16, device_pieces_per_s=1.0, rate_bytes_per_s=1e9)
    core, image = answers(bounds), payload()
    new = [core.want(want(image, (block, 0xFF)), image, 0.0) for block in range(32)]
    assert sum(new) == 16
    assert core.want(want(image, (31, 0xFF)), image, 5.0) == 5
    assert core.want(want(image, (30, 0xFF), device="another"), image, 5.0) == 8


def test_what_waits_stays_bounded_whoever_asks() -> None:
    bounds = WantBounds(waiting_max=64, payload_waiting_max=40)
    core, first, second = answers(bounds), payload(1), payload(2)
    for number in range(100):
        for image in (first, second):
            core.want(want(image, (number % 32, 0xFF), device=f"d{number}"), image, 0.0)
    assert core.waiting == 64


def test_what_is_remembered_of_devices_stays_bounded() -> None:
    core, image = answers(), payload()
    for number in range(DEVICES_MAX + 500):
        core.want(want(image, (0, 1), device=f"d{number}"), image, 0.0)
    assert len(core._devices) == DEVICES_MAX


def test_answers_keep_to_the_rate() -> None:
    rate = 64 * CHUNK_BYTES
    core, image = answers(WantBounds(rate_bytes_per_s=rate)), payload()
    core.want(want(image, *((block, 0xFF) for block in range(32))), image, 0.0)

    sent = all_due(core, until_s=600.0)

    assert len(sent) == 256
    for at_s, _ in sent:
        by_then = sum(1 for when_s, _ in sent if when_s <= at_s) * CHUNK_BYTES
        assert by_then <= rate * (at_s + 0.5) + 20 * CHUNK_BYTES


def test_payloads_take_turns_so_that_a_greedy_one_starves_nobody() -> None:
    core, large, small = answers(), payload(1), payload(2)
    core.want(want(large, *((block, 0xFF) for block in range(32))), large, 0.0)
    core.want(want(small, (0, 0b11), device="modest"), small, 0.0)

    first = core.due(1.0, room=4)

    assert [piece.payload for piece, _ in first].count(small.sha256) == 2


def test_what_waits_for_a_payload_that_is_not_offered_any_more_is_let_go() -> None:
    core, old, new = answers(), payload(1), payload(2)
    core.want(want(old, (0, 0xFF)), old, 0.0)
    core.want(want(new, (0, 1)), new, 0.0)
    core.forget_payloads({new.sha256})
    assert core.waiting == 1
    assert [piece.payload for _, piece in all_due(core, until_s=9.0)] == [new.sha256]
