"""An encrypted release: its key is fetched first, from one chunk of a list, unless it is there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core.content_key import LISTS_PER_DAY_MAX, KeyList
from slotcast_device.core.plan import Facts
from slotcast_schemas.codecs.encrypted import sealed_size_bytes
from slotcast_schemas.content_key import KEYS_CHUNK_BYTES, KEYS_CODEC, chunk_of, recipient_id
from slotcast_schemas.errors import NoContentKey, PayloadCorrupt
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.release import Encryption
from slotcast_schemas.states import State
from tests.support import messages
from tests.support.core_story import (
    CHUNK,
    CONTENT,
    FACTS,
    Content,
    Story,
    notice,
    release_of,
    serving,
)

RECIPIENT = recipient_id(b"cam-1")
HOLDER = replace(FACTS, recipient=RECIPIENT)
ENCRYPTION = Encryption(key_commitment=messages.sha("key"))
RELEASE = release_of(2, encryption=ENCRYPTION)
SEALED = msgspec.structs.replace(
    CONTENT.payload, codec="encrypted+full+none", plain_sha256=messages.sha("plain")
)
KEYS = Content("keys")
LIST = msgspec.structs.replace(KEYS.payload, codec=KEYS_CODEC, chunk_size_bytes=KEYS_CHUNK_BYTES)


def offered(*payloads: Payload, facts: Facts = HOLDER, **changes: Any) -> Story:
    story = Story().begun(serving(1))
    given: dict[str, Any] = {"release": RELEASE, "payloads": payloads, **changes}
    story.offered(notice(2, **given), facts)
    return story


def collects(story: Story, content: Content) -> None:
    """The spool is open, nothing is in it, and every chunk comes."""
    story.done(act.Spooled({0: content.map}, is_empty=True))
    for index in range(len(content.chunks)):
        story.tell(content.came(index))


def test_the_list_is_fetched_first_and_then_what_its_key_opens() -> None:
    story = offered(SEALED, LIST)
    assert story.asked(act.OpenSpool).payload == LIST
    collects(story, KEYS)
    assert story.job == act.TakeKey(KeyList(LIST, 0), RELEASE)
    assert story.words[0] == State.DOWNLOADING.value
    story.done()
    assert story.asked(act.OpenSpool) == act.OpenSpool(SEALED, RELEASE)
    collects(story, CONTENT)
    assert story.asked(act.Build).install.payload == SEALED


def test_a_key_that_is_there_is_not_fetched_again() -> None:
    story = offered(SEALED, LIST, facts=replace(HOLDER, has_content_key=True))
    assert story.asked(act.OpenSpool).payload == SEALED


def test_of_a_list_with_many_chunks_one_is_asked_for() -> None:
    chunks = 72
    keys = Content("keys", chunks)
    many = msgspec.structs.replace(
        keys.payload,
        codec=KEYS_CODEC,
        chunk_size_bytes=KEYS_CHUNK_BYTES,
        size_bytes=chunks * KEYS_CHUNK_BYTES,
    )
    story = offered(SEALED, many)
    story.done(act.Spooled({0: keys.map}, is_empty=True))
    wanted = chunk_of(RECIPIENT, chunks)
    assert 0 < wanted < chunks
    transfer = story.core._installation.collecting.transfer
    assert transfer is not None
    assert transfer.needed_bytes == KEYS_CHUNK_BYTES


@pytest.mark.parametrize(
    ("payloads", "facts", "says"),
    [
        ((SEALED,), HOLDER, "no wrapped keys are offered"),
        ((SEALED, LIST), FACTS, "this device has no encryption key"),
        (
            (SEALED, msgspec.structs.replace(LIST, chunk_size_bytes=32_768)),
            HOLDER,
            "no wrapped keys are offered",
        ),
    ],
    ids=["no list", "no key of its own", "a list of larger chunks"],
)
def test_without_a_list_or_a_key_it_says_who_must_act(
    payloads: tuple[Payload, ...], facts: Facts, says: str
) -> None:
    story = offered(*payloads, facts=facts)
    assert story.words[:2] == (State.REJECTED.value, "no_content_key")
    assert says in story.words[2]


def test_who_is_in_no_list_keeps_its_model_and_looks_into_no_list_twice() -> None:
    story = offered(SEALED, LIST)
    collects(story, KEYS)
    story.failed(NoContentKey("this device is not among those"))
    verify = story.asked(act.Verify)
    story.done(act.NoticeVerified(notice(2, release=RELEASE, payloads=(SEALED, LIST)), HOLDER))
    assert story.words[:2] == (State.REJECTED.value, "no_content_key")
    assert verify.data
    assert story.core.state.active == "a"
    assert not story.core.state.benched
    anew = msgspec.structs.replace(LIST, sha256=messages.sha("with us in it"))
    story.offered(notice(2, release=RELEASE, payloads=(SEALED, anew)), HOLDER)
    assert story.asked(act.OpenSpool).payload == anew


def test_lists_without_end_are_not_looked_into_and_the_next_day_they_are() -> None:
    story = Story().begun(serving(1))
    for number in range(LISTS_PER_DAY_MAX + 1):
        keys = Content(f"keys {number}")
        listed = msgspec.structs.replace(LIST, sha256=keys.sha256, map_parts=keys.payload.map_parts)
        offer = notice(2, release=RELEASE, payloads=(SEALED, listed), attempt=number + 1)
        story.offered(offer, HOLDER)
        if number == LISTS_PER_DAY_MAX:
            break
        assert story.asked(act.OpenSpool).payload == listed
        collects(story, keys)
        story.failed(NoContentKey("not in it"))
        story.done(act.NoticeVerified(offer, HOLDER))
    assert story.words[:2] == (State.REJECTED.value, "no_content_key")
    assert "tomorrow" in story.words[2]
    story.pass_s(86400)
    story.offered(offer, HOLDER)
    assert story.asked(act.OpenSpool).payload == listed


def test_a_whole_image_is_counted_once_its_key_is_there() -> None:
    story = offered(SEALED, LIST)
    assert story.core.state.full_bytes == 0
    collects(story, KEYS)
    story.done()
    assert story.core.state.full_bytes == SEALED.size_bytes


def test_an_encrypted_payload_of_a_release_in_the_clear_is_passed_over() -> None:
    story = offered(SEALED, LIST, release=release_of(2))
    assert story.words[:2] == (State.REJECTED.value, "incompatible")


def test_a_payload_in_the_clear_needs_no_key() -> None:
    story = offered(CONTENT.payload, LIST, facts=FACTS)
    assert story.asked(act.OpenSpool).payload == CONTENT.payload


def test_when_every_payload_is_broken_the_list_is_no_other_payload() -> None:
    story = offered(SEALED, LIST, facts=replace(HOLDER, has_content_key=True))
    collects(story, CONTENT)
    story.failed(PayloadCorrupt("chunk 0 was not sealed with this key"))
    assert story.words[:2] == (State.FAILED.value, "payload_corrupt")


def test_an_encrypted_payload_is_bounded_by_its_image_and_a_tag_for_each_chunk() -> None:
    image_bytes = RELEASE.image_size_bytes
    most = sealed_size_bytes(image_bytes, SEALED.chunk_size_bytes)
    fits = messages.payload(most, CHUNK, codec=SEALED.codec)
    story = offered(fits, LIST)
    assert story.asked(act.OpenSpool).payload == LIST
    story = offered(messages.payload(most + 1, CHUNK, codec=SEALED.codec), LIST)
    assert story.words[:2] == (State.REJECTED.value, "inconsistent")
