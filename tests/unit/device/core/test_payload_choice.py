"""Which of two whole images a device fetches: whichever is there sooner, and it says why."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from slotcast_device.core.plan import Install, make_plan
from slotcast_device.core.state import ModelState
from slotcast_device.core.whole_image_choice import Speeds, WholeImage, choose_whole
from slotcast_schemas.messages.offer import Base, Payload
from slotcast_schemas.messages.release import File
from tests.support import messages
from tests.unit.device.core.test_plan import EMPTY, FACTS, OLD, holding, trusted

IMAGE_BYTES = 90_000_000


def payload(codec: str, size_bytes: int, **more: Any) -> Payload:
    given = {"codec": codec, "size_bytes": size_bytes, "chunk_size_bytes": 1 << 20, "frames": ()}
    parts = (messages.sha("part"),)
    return messages.payload(**{**given, "sha256": messages.sha(codec), "map_parts": parts, **more})


EASY = payload("full+zstd", 83_000_000)
SMALL = payload("full+weights", 74_000_000, memory_bytes=16_000_000)
BOTH = [WholeImage(EASY, 83_000_000), WholeImage(SMALL, 74_000_000)]


def chosen(link: float, undo: float, begun: bytes = b"") -> tuple[str, str]:
    speeds = Speeds(link, undo)
    image, why = choose_whole(BOTH, speeds, image_size_bytes=IMAGE_BYTES, begun=begun)
    return image.payload.codec, why


def test_a_slow_link_gets_the_small_one_and_a_slow_processor_the_easy_one() -> None:
    assert chosen(link=50_000, undo=5e6)[0] == "full+weights"
    assert chosen(link=2e6, undo=5e6)[0] == "full+zstd"
    assert chosen(link=2e6, undo=150e6)[0] == "full+weights"
    assert chosen(link=50e6, undo=150e6)[0] == "full+zstd"


def test_it_says_both_times() -> None:
    assert chosen(link=1e6, undo=45e6)[1] == "about 76.0 s at 1000 kB/s, full+zstd 83.0 s"


def test_a_link_that_is_not_known_is_taken_for_slow() -> None:
    assert chosen(link=0, undo=1e3) == ("full+weights", "the fewest bytes")


def test_what_was_begun_is_gone_on_with() -> None:
    assert chosen(link=50_000, undo=150e6, begun=EASY.sha256) == ("full+zstd", "begun before")
    assert chosen(link=50e6, undo=1e6, begun=SMALL.sha256)[0] == "full+weights"


def test_one_alone_needs_no_reason() -> None:
    speeds = Speeds(1e6, 1e6)
    assert choose_whole(BOTH[:1], speeds, image_size_bytes=1, begun=b"") == (BOTH[0], "")


def planned(state: ModelState = EMPTY, **facts: Any) -> Install:
    files = (File(path="model.onnx", size_bytes=IMAGE_BYTES, sha256=messages.sha("m")),)
    image = messages.release(files=files, image_size_bytes=IMAGE_BYTES, rebased=None, requires=())
    plan = make_plan(trusted(image, payloads=(EASY, SMALL)), state, replace(FACTS, **facts))
    assert isinstance(plan, Install)
    return plan


def test_the_plan_goes_by_what_this_device_remembers_of_its_link() -> None:
    fast = replace_state(link_bytes_per_s=50_000_000)
    room: dict[str, Any] = {"disk_bytes": 10**10, "undo_bytes_per_s": 1e3}
    assert planned(**room).payload == SMALL
    assert planned(fast, **room).payload == EASY
    assert "full+weights" in planned(fast, **room).why


def test_a_small_one_that_did_not_decode_or_does_not_fit_leaves_the_easy_one() -> None:
    assert planned(disk_bytes=10**10, excluded=frozenset({SMALL.sha256})).payload == EASY
    assert planned(disk_bytes=10**10, memory_bytes=15_999_999).payload == EASY


def replace_state(**fields: Any) -> ModelState:
    return ModelState(**{"model": "detector", **fields})


def test_one_that_just_fits_the_memory_fits() -> None:
    assert planned(disk_bytes=10**10, memory_bytes=16_000_000).payload == SMALL


def test_the_plan_goes_on_with_what_was_begun_and_says_so() -> None:
    plan = planned(replace_state(full_payload=EASY.sha256), disk_bytes=10**10)
    assert (plan.payload, plan.why) == (EASY, "begun before")


def delta(size_bytes: int) -> Payload:
    base = Base(sequence=1, version="1", image_sha256=messages.sha("old"), size_bytes=1024)
    return payload("delta+v1", size_bytes, base=base, sha256=messages.sha(f"delta {size_bytes}"))


def test_of_several_deltas_the_smallest_is_taken_and_needs_no_reason() -> None:
    state = holding(OLD)
    for offered in ((delta(300), delta(200)), (delta(200), delta(300))):
        plan = make_plan(trusted(payloads=offered), state, FACTS)
        assert isinstance(plan, Install)
        assert (plan.payload, plan.base, plan.why) == (delta(200), "a", "")


def test_of_a_delta_and_a_whole_image_of_one_size_the_whole_one_is_taken() -> None:
    """A whole image needs no base, so nothing can be wrong with that."""
    whole = payload("full+zstd", 200)
    taken = []
    for size_bytes in (199, 200):
        offer = trusted(payloads=(delta(size_bytes), whole))
        plan = make_plan(offer, holding(OLD), FACTS)
        assert isinstance(plan, Install)
        assert plan.payload is not None
        assert plan.why == ""
        taken.append(plan.payload.codec)
    assert taken == ["delta+v1", "full+zstd"]
