"""Whoever asks for how much: an honest device gets its turn, and nobody more than its budget.

A small world of the deciding part of `serve`: hostile devices ask for everything all the time,
by their own names and by invented ones; one honest device asks for what it misses, and repeats
what does not come, as devices do.
"""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_publisher.serve.budgets import Budgets
from slotcast_publisher.serve.day_budget import DAY_S
from slotcast_publisher.serve.wants import Answers, WantBounds
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.want import WantedBlock

STEP_S = 0.1
RATE = 400_000.0


def payload(number: int, chunks: int, chunk_bytes: int) -> Payload:
    return Payload(
        codec="full+none",
        sha256=bytes([number]) * 32,
        size_bytes=chunks * chunk_bytes,
        chunk_size_bytes=chunk_bytes,
        map_parts=(bytes(32),),
    )


def want(of: Payload, device: str, chunks: set[int]) -> Want:
    blocks: dict[int, int] = {}
    for chunk in chunks:
        block, bit = divmod(chunk, BLOCK_CHUNKS)
        blocks[block] = blocks.get(block, 0) | 1 << bit
    asked = tuple(WantedBlock(block=b, missing=m) for b, m in sorted(blocks.items()))
    return Want(device=device, payload=of.sha256, blocks=asked)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    thieves=st.integers(1, 4),
    chunk_bytes=st.sampled_from([1024, 4096, 32_768]),
    claims=st.booleans(),
)
def test_an_honest_device_gets_its_share_whatever_others_ask_for(
    seed: int, thieves: int, chunk_bytes: int, claims: bool
) -> None:
    """It gets at least what is left to one of so many: of the rate, by bytes."""
    rng = random.Random(seed)
    large, small = payload(1, 512, 32_768), payload(2, 64, chunk_bytes)
    known = ServeSettings(device_day_payloads=1e6, claimed_day_payloads=1e6)
    core = Answers(WantBounds(rate_bytes_per_s=RATE), rng, Budgets(known))
    missing = set(range(64))
    share = RATE / (thieves + 1) / (2 if claims else 1)
    needed_s = small.size_bytes / share
    steps = 0
    while missing:
        now_s = steps * STEP_S
        for thief in range(thieves):
            chunks = set(rng.sample(range(512), 200))
            core.want(want(large, f"thief-{thief}", chunks), large, now_s, is_proven=True)
        for _ in range(10 if claims else 0):
            name = rng.choice(["honest", f"invented-{rng.randrange(10_000)}"])
            chunks = set(rng.sample(range(512), 50))
            core.want(want(large, name, chunks), large, now_s, is_proven=False)
        if steps % 20 == 0:
            core.want(want(small, "honest", missing), small, now_s, is_proven=True)
        for piece, of in core.due(now_s + STEP_S / 2, room=100):
            if of is small:
                missing.discard(piece.number)
        steps += 1
        assert steps * STEP_S < 1.25 * needed_s + 10.0
    assert core.waiting <= WantBounds().waiting_max


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    devices=st.integers(1, 6),
    times=st.sampled_from([1.0, 2.0, 5.0]),
    chunk_bytes=st.sampled_from([1024, 5000]),
)
def test_all_that_is_sent_is_within_the_budgets_of_who_asked(
    seed: int, devices: int, times: float, chunk_bytes: int
) -> None:
    rng = random.Random(seed)
    images = [payload(n, rng.randint(1, 60), chunk_bytes) for n in range(1, 4)]
    known = ServeSettings(device_day_payloads=times, claimed_day_payloads=times, day_min_bytes=0)
    core = Answers(WantBounds(rate_bytes_per_s=1e9), rng, Budgets(known))
    sent: Counter[bytes] = Counter()
    now_s = 0.0
    for _ in range(150):
        now_s += rng.choice([0.1, 1.0, 500.0])
        image = rng.choice(images)
        chunks = {n for n in range(image.chunk_count) if rng.random() < 0.7} or {0}
        name, is_proven = f"d{rng.randrange(devices)}", rng.random() < 0.7
        core.want(want(image, name, chunks), image, now_s, is_proven=is_proven)
        for piece, of in core.due(now_s, room=rng.choice([0, 5, 100])):
            sent[of.sha256] += of.chunk_bytes(piece.number)
        if rng.random() < 0.02:
            core.forget_payloads({image.sha256 for image in images})
    for image in images:
        of_one = times * image.size_bytes * (1 + now_s / DAY_S)
        assert sent[image.sha256] <= (devices + 1) * of_one + 1
