"""Reason words have one home: no code types one by hand, and each says who must act."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import slotcast_publisher.errors  # noqa: F401  # its classes are looked at below
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.fields import WORD_PATTERN
from slotcast_schemas.reasons import Actor, Reason

ROOT = Path(__file__).parents[3]
SOURCES = [ROOT / "device" / "src", ROOT / "publisher" / "src", ROOT / "schemas" / "src"]

OTHER_MEANINGS = {
    "canceled",  # the state of an offer or of a group
    "committed",  # an event of the change log
    "connected",  # an event of a publisher's session
    "error",  # an event of a publisher's session, and a severity
    "errors",  # a check and a counter
    "malformed",  # a part of what SQLite says of a damaged file
    "on_trial",  # a column: figures of a release while it was on trial
    "passed",  # the outcome of a trial
    "paused",  # the state of an offer or of a group
    "restarts",  # a check
    "refused",  # the name of a hook
    "slow",  # the outcome of a second opinion
    "starting",  # the default in a message type, whose documents show it
    "stopped",  # a step of the probe's child
    "superseded",  # a word of a rollout's log
}
"""Words that stand in the code for something that is no reason."""


def subclasses(kind: type[SlotcastError]) -> Iterator[type[SlotcastError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from subclasses(one)


def words_typed_by_hand() -> Iterator[str]:
    for file in (file for source in SOURCES for file in source.rglob("*.py")):
        if file.name == "reasons.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in set(Reason) - OTHER_MEANINGS:
                yield f"{file.relative_to(ROOT)}:{node.lineno}: {node.value!r}"


def test_no_reason_is_typed_by_hand() -> None:
    assert list(words_typed_by_hand()) == []


@pytest.mark.parametrize("kind", list(subclasses(SlotcastError)))
def test_an_error_takes_its_word_from_the_list(kind: type[SlotcastError]) -> None:
    assert isinstance(kind.reason, Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_says_who_must_act_and_what_it_means(reason: Reason) -> None:
    assert isinstance(reason.actor, Actor)
    assert re.fullmatch(WORD_PATTERN, reason)
    assert re.fullmatch(r"[A-Z`].*\.", reason.meaning)
    assert reason.name.lower() == reason.value


PUBLISHED = """
up_to_date committed downloading building probing switching on_trial not_in_group no_notice
malformed oversized unsupported_feature bad_signature expired replayed downgrade wrong_model
inconsistent incompatible too_large benched full_forbidden payload_corrupt wrong_base paused
canceled stalled slow chunk_corrupt link_down broker_refused packet_limit device_busy disk_full
state_unwritable state_unreadable state_too_new storage_failed slot_damaged no_way_back
software_broken probe_not_held memory_short internal_error owner metered_link byte_budget window
consent hook hook_failed hook_refused by_hand switched_by_hand id_in_use model_unloadable
contract_broken
"""
"""The words of the table in docs/device.md before it was made from the code."""


def test_words_once_published_are_never_taken_away() -> None:
    assert set(PUBLISHED.split()) <= set(Reason)
