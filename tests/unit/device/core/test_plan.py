"""What a verified notice means for a device: every refusal, every wait, every choice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from slotcast_device.core.needed_chunks import needed_chunks
from slotcast_device.core.plan import (
    DISK_MARGIN_BYTES,
    Canceled,
    Facts,
    Install,
    NothingToDo,
    Plan,
    Wait,
    make_plan,
)
from slotcast_device.core.state import ModelState, SlotName, record_of
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    Benched,
    DiskFull,
    Downgrade,
    FullForbidden,
    Incompatible,
    Inconsistent,
    SlotcastError,
    TooLarge,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.offer import Base, Group, Payload
from slotcast_schemas.messages.release import File, Runtime
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.model_formats import FEATURE
from slotcast_schemas.reasons import Reason
from slotcast_schemas.verify import Trusted
from tests.support import messages

FULL = messages.payload(900, 1024, codec="full+zstd", base=None, frames=())
DELTA = messages.payload(
    300,
    1024,
    codec="delta+v1",
    base=Base(sequence=1, version="1", image_sha256=messages.sha("old"), size_bytes=1024),
    frames=(),
)
EVERYONE = (Group(name="everyone"),)
OLD = messages.release(
    version="1",
    sequence=1,
    image_sha256=messages.sha("old"),
    files=(
        File(path="model.onnx", size_bytes=1000, sha256=messages.sha("old model"), role="model"),
        File(path="data/labels.txt", size_bytes=24, sha256=messages.sha("l")),
    ),
)
FACTS = Facts(device="cam-1", tags={}, onnxruntime="1.20.0", memory_bytes=10**9, disk_bytes=10**9)


def trusted(release: Release | None = None, **offer: Any) -> Trusted:
    """A verified notice of a release, for everyone, with a full payload."""
    chosen = release or messages.release(rebased=None, requires=())
    given = {"groups": EVERYONE, "payloads": (FULL,), "state": "active", "full_allowed": True}
    return Trusted(chosen, wire.encode(chosen), messages.offer(**{**given, **offer}), b"")


def holding(release: Release, **fields: Any) -> ModelState:
    """A device with a release active in slot a."""
    record = record_of(release, messages.sha(release.version))
    given = {"model": "detector", "active": "a", "slots": {"a": record}, "floor": release.sequence}
    return ModelState(**{**given, **fields})


EMPTY = ModelState(model="detector")


def plan(t: Trusted | None = None, state: ModelState = EMPTY, **facts: Any) -> Plan:
    """Plan for the usual device, with some facts changed."""
    return make_plan(t or trusted(), state, replace(FACTS, **facts))


def test_a_good_release_goes_into_the_standby_slot() -> None:
    first, later = plan(), plan(state=holding(OLD))
    assert isinstance(first, Install)
    assert isinstance(later, Install)
    assert (first.slot, later.slot) == ("a", "b")
    assert first.payload == FULL


REFUSALS: list[tuple[Trusted, ModelState, dict[str, Any], type[SlotcastError]]] = [
    (trusted(), holding(OLD, floor=8), {}, Downgrade),
    (
        trusted(attempt=1),
        holding(OLD, benched=(BenchedRelease(sequence=7, version="1.2.0", reason="x", attempt=1),)),
        {},
        Benched,
    ),
    (trusted(), EMPTY, {"onnxruntime": "1.16.3"}, Incompatible),
    (trusted(), EMPTY, {"memory_bytes": 4_999_999}, TooLarge),
    (trusted(), EMPTY, {"image_max_bytes": 1023}, TooLarge),
    (trusted(), EMPTY, {"disk_bytes": DISK_MARGIN_BYTES + 1024 + 899}, DiskFull),
    (trusted(), EMPTY, {"full_allowed": False}, FullForbidden),
    (trusted(full_allowed=False), EMPTY, {}, FullForbidden),
    (trusted(payloads=(DELTA,)), EMPTY, {}, Incompatible),
    (trusted(payloads=()), EMPTY, {}, Incompatible),
    (trusted(), EMPTY, {"excluded": frozenset({FULL.sha256})}, Incompatible),
]


@pytest.mark.parametrize(("t", "state", "facts", "refusal"), REFUSALS)
def test_each_refusal_is_of_its_own_kind_and_says_both_sides(
    t: Trusted, state: ModelState, facts: dict[str, Any], refusal: type[SlotcastError]
) -> None:
    with pytest.raises(refusal) as refused:
        plan(t, state, **facts)
    assert type(refused.value) is refusal
    assert len(str(refused.value)) > 20


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        ((), "none offered$"),
        ((DELTA,), r"\['delta\+v1'\]$"),
        ((msgspec.structs.replace(FULL, codec="z"), DELTA), r"\['delta\+v1', 'z'\]$"),
    ],
)
def test_where_no_payload_will_do_their_codecs_are_named(
    offered: tuple[Payload, ...], named: str
) -> None:
    with pytest.raises(Incompatible, match=named):
        plan(trusted(payloads=offered))


@pytest.mark.parametrize(("state", "held"), [(EMPTY, "nothing"), (holding(OLD), r"1 \(1\)")])
def test_where_only_a_delta_would_do_the_base_that_it_needs_is_named(
    state: ModelState, held: str
) -> None:
    with pytest.raises(FullForbidden, match=f"publish a delta from {held}, or allow"):
        plan(trusted(full_allowed=False), state)


@pytest.mark.parametrize("codec", ["delta+v1", "delta+v2", "delta+v3"])
def test_the_smallest_delta_whose_codec_is_known_is_taken(codec: str) -> None:
    known = msgspec.structs.replace(DELTA, codec=codec)
    unknown = msgspec.structs.replace(DELTA, codec="delta+v9", size_bytes=10)
    chosen = plan(trusted(payloads=(FULL, unknown, known)), holding(OLD))
    assert isinstance(chosen, Install)
    assert chosen.payload == known


@pytest.mark.parametrize("slot", ["a", "b"])
def test_two_releases_under_one_sequence_are_a_contradiction(slot: SlotName) -> None:
    """Two machines, or a restored backup, gave the same number to different files."""
    other = messages.release(version="1.9", sequence=7, image_sha256=messages.sha("other"))
    held = holding(OLD).with_slot(slot, record_of(other, messages.sha("another release")))
    with pytest.raises(Inconsistent, match="two publishers"):
        plan(trusted(), held)


def test_the_same_release_in_the_standby_slot_is_none() -> None:
    held = holding(OLD).with_slot("b", record_of(trusted().release, trusted().release_sha256))
    assert isinstance(plan(trusted(), held), Install)


def test_the_sequence_of_the_last_commit_is_accepted_and_one_below_it_is_not() -> None:
    """At the floor itself: a release is offered again with another attempt, or is built anew."""
    assert trusted().release.sequence == 7
    assert isinstance(plan(trusted(), holding(OLD, floor=7)), Install)
    with pytest.raises(Downgrade):
        plan(trusted(), holding(OLD, floor=8))


def test_there_is_just_enough_room_or_there_is_not() -> None:
    enough = DISK_MARGIN_BYTES + 1024 + 900
    assert isinstance(plan(disk_bytes=enough), Install)
    assert isinstance(plan(disk_bytes=enough - 500, spooled_bytes=500), Install)
    standby = {"b": record_of(OLD, b"old")}
    state = holding(OLD)
    both = msgspec.structs.replace(state, slots={**state.slots, **standby})
    assert isinstance(plan(state=both, disk_bytes=enough - 1024), Install)


def test_a_higher_attempt_gives_a_benched_release_another_chance() -> None:
    entry = BenchedRelease(sequence=7, version="1.2.0", reason="x", attempt=1)
    assert isinstance(plan(trusted(attempt=2), holding(OLD, benched=(entry,))), Install)


def test_what_runs_already_is_left_alone_whatever_the_offer_says() -> None:
    t = trusted(state="canceled")
    record = record_of(t.release, t.release_sha256)
    state = ModelState(model="detector", active="a", slots={"a": record}, floor=7)
    assert plan(t, state) == NothingToDo(Reason.UP_TO_DATE)


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        ({"groups": (Group(name="n", tags={"site": "north"}),)}, NothingToDo(Reason.NOT_IN_GROUP)),
        ({"groups": (Group(name="n", ids=("cam-2",)),)}, NothingToDo(Reason.NOT_IN_GROUP)),
        ({"groups": (Group(name="n", percent=0),)}, NothingToDo(Reason.NOT_IN_GROUP)),
        ({"state": "paused"}, Wait(Reason.PAUSED, "everyone")),
        ({"groups": (Group(name="n", state="paused"), *EVERYONE)}, Wait(Reason.PAUSED, "n")),
        ({"state": "canceled"}, Canceled("everyone")),
        ({"groups": (Group(name="n", state="canceled"), *EVERYONE)}, Canceled("n")),
    ],
)
def test_groups_and_pauses_are_obeyed(offer: dict[str, Any], expected: Plan) -> None:
    assert plan(trusted(**offer)) == expected


def test_the_first_group_that_matches_counts() -> None:
    groups = (Group(name="mine", ids=("cam-1",)), *EVERYONE)
    chosen = plan(trusted(groups=groups))
    assert isinstance(chosen, Install)
    assert chosen.group == "mine"


def test_the_cheapest_payload_that_fits_is_taken() -> None:
    offer = trusted(payloads=(FULL, DELTA))
    at_home = plan(offer, holding(OLD))
    assert isinstance(at_home, Install)
    assert (at_home.payload, at_home.base) == (DELTA, "a")
    away = plan(offer, EMPTY)
    assert isinstance(away, Install)
    assert (away.payload, away.base) == (FULL, None)


def test_a_codec_from_the_future_is_passed_over_not_refused() -> None:
    future = msgspec.structs.replace(FULL, codec="full+v9", sha256=messages.sha("future"))
    chosen = plan(trusted(payloads=(future, FULL)))
    assert isinstance(chosen, Install)
    assert chosen.payload == FULL
    delta = msgspec.structs.replace(DELTA, codec="delta+v9", sha256=messages.sha("future delta"))
    baseless = msgspec.structs.replace(DELTA, base=None, sha256=messages.sha("of nothing"))
    chosen = plan(trusted(payloads=(delta, baseless, FULL)), holding(OLD))
    assert isinstance(chosen, Install)
    assert chosen.payload == FULL


def test_old_content_under_a_new_sequence_needs_no_payload_at_all() -> None:
    again = messages.release(version="3", sequence=9, files=OLD.files, rebased=None, requires=())
    chosen = plan(trusted(again), holding(OLD))
    assert isinstance(chosen, Install)
    assert chosen.payload is None
    assert set(chosen.reuse) == {file.path for file in again.files}
    assert chosen.saved_bytes == again.image_size_bytes


def test_only_chunks_with_frames_of_missing_files_are_needed() -> None:
    release = messages.release()  # 1000 bytes of model, 24 of labels
    payload = messages.payload(5000, 1024, codec="full+zstd", base=None, frames=(3000, 2000))
    labels, model = release.files[1].path, release.files[0].path
    assert needed_chunks(payload, release, {labels: ("a", labels)}) == [0, 1, 2]
    assert needed_chunks(payload, release, {model: ("a", model)}) == [2, 3, 4]
    assert needed_chunks(payload, release, {}) == [0, 1, 2, 3, 4]
    whole = msgspec.structs.replace(payload, frames=())
    assert needed_chunks(whole, release, {model: ("a", model)}) == [0, 1, 2, 3, 4]


def test_a_frame_that_ends_one_byte_into_a_chunk_needs_that_chunk() -> None:
    release = messages.release()
    payload = messages.payload(5120, 1024, codec="full+zstd", base=None, frames=(2049, 3071))
    labels = release.files[1].path
    assert needed_chunks(payload, release, {labels: ("a", labels)}) == [0, 1, 2]


def test_each_file_has_its_frame_where_the_others_before_it_end() -> None:
    files = tuple(
        File(path=f"{n}.bin", size_bytes=1, sha256=messages.sha(f"{n}")) for n in range(3)
    )
    model = msgspec.structs.replace(files[2], role="model")
    three = messages.release(
        files=(*files[:2], model), entry=model.path, image_size_bytes=3, rebased=None
    )
    payload = messages.payload(3072, 1024, codec="full+zstd", base=None, frames=(1024, 1024, 1024))
    held: dict[str, tuple[SlotName, str]] = {file.path: ("a", file.path) for file in files}
    for number, file in enumerate(three.files):
        others = {path: where for path, where in held.items() if path != file.path}
        assert needed_chunks(payload, three, others) == [number]
    odd = msgspec.structs.replace(payload, frames=(1024, 2048))
    with pytest.raises(ValueError, match="zip"):
        needed_chunks(odd, three, {})


def test_a_frame_that_ends_with_its_chunk_needs_no_chunk_more() -> None:
    release = messages.release()
    payload = messages.payload(5120, 1024, codec="full+zstd", base=None, frames=(2048, 3072))
    model, labels = release.files[0].path, release.files[1].path
    assert needed_chunks(payload, release, {labels: ("a", labels)}) == [0, 1]
    assert needed_chunks(payload, release, {model: ("a", model)}) == [2, 3, 4]


def test_a_requirement_that_is_no_specifier_is_named() -> None:
    odd = messages.release(runtime=Runtime(onnxruntime="about 1"), rebased=None, requires=())
    with pytest.raises(Incompatible, match="about 1"):
        plan(trusted(odd))


def test_a_model_of_a_format_that_nothing_here_runs_is_refused_before_a_byte_is_fetched() -> None:
    """And with what would help: only the device's owner can name a command."""
    gguf = messages.release(runtime=Runtime(format="gguf"), rebased=None, requires=(FEATURE,))
    with pytest.raises(
        Incompatible, match=r"'gguf', this device runs litert, onnx; .*formats\.gguf"
    ):
        plan(trusted(gguf), formats=frozenset({"litert"}))
    assert isinstance(plan(trusted(gguf), formats=frozenset({"gguf"})), Install)
    litert = messages.release(runtime=Runtime(format="litert"), rebased=None, requires=(FEATURE,))
    with pytest.raises(Incompatible, match=r"slotcast-device\[litert\]"):
        plan(trusted(litert))


def test_a_model_that_onnxruntime_does_not_run_does_not_need_it() -> None:
    litert = messages.release(runtime=Runtime(format="litert"), rebased=None, requires=(FEATURE,))
    assert isinstance(plan(trusted(litert), formats=frozenset({"litert"}), onnxruntime=""), Install)


# --- what a whole image may cost ------------------------------------------------------------------


def test_on_a_metered_link_a_whole_image_waits_and_a_delta_does_not() -> None:
    both = trusted(payloads=(FULL, DELTA))
    waiting = plan(both, is_metered=True)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "metered_link"
    assert waiting.again_s is not None
    going = plan(both, holding(OLD), is_metered=True)
    assert isinstance(going, Install)
    assert going.payload == DELTA


def test_the_days_bytes_of_whole_images_are_bounded() -> None:
    today: dict[str, Any] = {"full_bytes_per_day": 1000, "day": 20_000}
    used = msgspec.structs.replace(EMPTY, full_day=20_000, full_bytes=101)
    waiting = plan(state=used, **today)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "byte_budget"
    assert isinstance(plan(state=used, **{**today, "day": 20_001}), Install)
    assert isinstance(plan(state=EMPTY, **today), Install)


def test_a_whole_image_may_use_the_days_bytes_to_the_last_one() -> None:
    """What was used on another day does not count."""
    used = msgspec.structs.replace(EMPTY, full_day=20_000, full_bytes=100)
    today: dict[str, Any] = {"full_bytes_per_day": 1000, "day": 20_000}
    assert isinstance(plan(state=used, **today), Install)
    assert isinstance(plan(state=used, full_bytes_per_day=900, day=20_001), Install)


def test_a_whole_image_that_was_begun_is_gone_on_with_and_counted_once() -> None:
    begun = EMPTY.counting_full(FULL.sha256, 900, 20_000)
    assert begun.counting_full(FULL.sha256, 900, 20_000) == begun
    assert isinstance(plan(state=begun, full_bytes_per_day=1000, day=20_000), Install)


def test_a_whole_image_larger_than_the_days_bytes_is_refused_for_good() -> None:
    with pytest.raises(FullForbidden, match="full_bytes_per_day"):
        plan(full_bytes_per_day=899)
