"""Nobody reports for a device who has not its key, and nothing that it said before counts twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.fleet.alarms.facts import Facts
from slotcast_publisher.fleet.alarms.gather import read_devices
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.alarms.rules import judge
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import open_database
from slotcast_schemas import wire
from slotcast_schemas.identity import SIGNATURE_BYTES
from slotcast_schemas.messages import Metrics, Status
from slotcast_schemas.signed_report import encode_report
from slotcast_schemas.states import State
from tests.support import messages as given
from tests.support.signing_devices import (
    NOW_S,
    TOPICS,
    HearingFleet,
    enrol,
    hearing_fleet,
    new_key,
)

MODEL = "detector"
CAM = ("cam-1", MODEL)


def status(counter: int, state: State = State.COMMITTED, **changes: Any) -> Status:
    model = given.model_status(model=MODEL, state=state, reason="committed", progress=None)
    at_s = int(NOW_S) + counter
    return given.status(**{"counter": counter, "time": at_s, "models": (model,), **changes})


def metrics(counter: int, **changes: Any) -> Metrics:
    return given.metrics(**{"counter": counter, "time": int(NOW_S) + counter, **changes})


@pytest.fixture
def key() -> DeviceIdentity:
    """The key of cam-1."""
    return new_key()


@pytest.fixture
def fleet(tmp_path: Path, key: DeviceIdentity) -> Iterator[HearingFleet]:
    """A fleet in which cam-1 is enrolled, and has said that it committed."""
    enrol(tmp_path / "repo", "cam-1", key)
    with hearing_fleet(tmp_path / "repo") as made:
        assert made.says(status(10), key) is None
        assert made.says(metrics(10), key) is None
        assert made.states() == {CAM: "COMMITTED"}
        yield made


def refused(fleet: HearingFleet) -> tuple[str, int]:
    """What was refused in the device's name: the last word, and how many."""
    row = fleet.device()
    return row["refused_why"], row["refused_count"]


# --- who says it ----------------------------------------------------------------------------------


def test_what_an_enrolled_device_says_is_known_to_be_its(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    assert fleet.says(status(11, State.FAILED), key) is None
    assert (fleet.states()[CAM], fleet.device()["signed"]) == ("FAILED", "yes")
    assert refused(fleet) == ("", 0)


def test_an_unsigned_report_of_an_enrolled_device_is_not_believed(fleet: HearingFleet) -> None:
    assert fleet.says(status(11, State.FAILED)) == "unsigned"
    assert fleet.says(metrics(11)) == "unsigned"
    assert fleet.states() == {CAM: "COMMITTED"}
    assert refused(fleet) == ("unsigned", 2)
    assert fleet.device()["signed"] == "yes", "its own last status stays what it was"
    assert len(fleet.rows(tables.metrics)) == 1


def test_a_device_cannot_report_for_another_though_it_is_enrolled(fleet: HearingFleet) -> None:
    other = new_key()
    enrol(fleet.repo, "cam-2", other)
    assert fleet.says(status(11, State.FAILED), other) == "bad_signature"
    assert fleet.says(metrics(11), other) == "bad_signature"
    assert fleet.states() == {CAM: "COMMITTED"}
    assert refused(fleet) == ("bad_signature", 2)
    data = encode_report(status(11, State.FAILED, device="cam-2"), other)
    assert fleet.hear(TOPICS.device("cam-1", "status"), data) == "other_device"


def test_no_byte_of_a_signed_report_can_be_changed(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    topic, data = TOPICS.device("cam-1", "status"), encode_report(status(11, State.FAILED), key)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert fleet.hear(topic, bytes(changed)) is not None, f"byte {place}"
    for other in (data[:-1], data + b"\0", data[:-SIGNATURE_BYTES] + bytes(SIGNATURE_BYTES)):
        assert fleet.hear(topic, other) in ("malformed", "bad_signature")
    assert fleet.states() == {CAM: "COMMITTED"}
    assert fleet.hear(topic, data) is None


def test_a_signature_must_be_the_last_field(fleet: HearingFleet, key: DeviceIdentity) -> None:
    """A field behind it would be one that nobody signed."""
    fields = msgpack.unpackb(encode_report(status(11), key))
    unsigned = {**fields, "clock": "behind"}
    behind = {"signature": unsigned.pop("signature"), **unsigned}
    assert fleet.hear(TOPICS.device("cam-1", "status"), msgpack.packb(behind)) == "bad_signature"
    beside = {**fields, "later": b"\xa9signature\xc4\x40" + fields["signature"]}
    assert fleet.hear(TOPICS.device("cam-1", "status"), msgpack.packb(beside)) == "bad_signature"
    # Truly signed, but as the value of another field: two readers would differ about which it is.
    signed = msgpack.packb({**fields, "later": bytes(SIGNATURE_BYTES)})[:-SIGNATURE_BYTES]
    made = key.sign(b"slotcast report v1\0status\0cam-1\0", signed)
    assert fleet.hear(TOPICS.device("cam-1", "status"), signed + made) == "bad_signature"


def test_what_was_signed_as_metrics_is_no_status(fleet: HearingFleet, key: DeviceIdentity) -> None:
    """A signature over the same bytes, as another kind."""
    data = encode_report(status(11, State.FAILED), key)
    body = data[:-SIGNATURE_BYTES]
    for context in (b"slotcast report v1\0metrics\0cam-1\0", b"slotcast report v1\0", b""):
        forged = body + key.sign(context, body)
        assert fleet.hear(TOPICS.device("cam-1", "status"), forged) == "bad_signature"
    assert fleet.hear(TOPICS.device("cam-1", "metrics"), data) == "malformed"


def test_a_key_of_a_token_counts_as_well(tmp_path: Path) -> None:
    token = DeviceIdentity(ec.generate_private_key(ec.SECP256R1()))
    enrol(tmp_path, "cam-1", token)
    with hearing_fleet(tmp_path) as fleet:
        assert fleet.says(status(1), token) is None
        assert fleet.says(status(2), new_key()) == "bad_signature"
        assert fleet.device()["signed"] == "yes"


# --- devices that are not enrolled ----------------------------------------------------------------


def test_devices_that_nobody_enrolled_go_on_and_are_marked(tmp_path: Path) -> None:
    with hearing_fleet(tmp_path) as fleet:
        assert fleet.says(status(1, device="old")) is None
        assert fleet.says(status(1, device="new"), new_key()) is None
        assert fleet.says(status(2, device="new"), new_key()) is None, "no key is pinned"
        assert fleet.device("old")["signed"] == "unsigned"
        assert fleet.device("new")["signed"] == "not_enrolled"
        assert len(fleet.states()) == 2


def test_where_only_signed_reports_count_a_strangers_moves_nothing(tmp_path: Path) -> None:
    known = new_key()
    enrol(tmp_path, "cam-1", known)
    with hearing_fleet(tmp_path, "signed") as fleet:
        assert fleet.says(status(1, device="old")) == "not_enrolled"
        assert fleet.says(status(1, device="new"), new_key()) == "not_enrolled"
        assert fleet.says(metrics(1, device="old")) == "not_enrolled"
        assert (fleet.states(), fleet.rows(tables.devices)) == ({}, [])
        assert fleet.rows(tables.metrics) == []
        assert fleet.says(given.presence(device="old", time=int(NOW_S))) is None
        assert fleet.says(status(1), known) is None
        assert fleet.states() == {CAM: "COMMITTED"}
        counted = {row["reason"]: row["count"] for row in fleet.rows(tables.dropped)}
        assert counted == {"not_enrolled": 3}


def test_who_was_enrolled_or_removed_meanwhile_counts_as_such_at_once(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    other = new_key()
    assert fleet.says(status(1, device="cam-2"), other) is None
    enrol(fleet.repo, "cam-2", other)
    assert fleet.says(status(2, device="cam-2")) == "unsigned"
    assert fleet.says(status(3, device="cam-2"), other) is None
    assert fleet.device("cam-2")["signed"] == "yes"
    Registry(fleet.repo).remove("cam-1")
    assert fleet.says(status(11, State.FAILED)) is None
    assert fleet.device()["signed"] == "unsigned"


def test_a_lost_database_does_not_forget_who_is_enrolled(
    tmp_path: Path, key: DeviceIdentity
) -> None:
    enrol(tmp_path, "cam-1", key)
    with hearing_fleet(tmp_path) as fleet:
        assert fleet.says(status(10), key) is None
    for file in tmp_path.glob("fleet.db*"):
        file.unlink()
    with hearing_fleet(tmp_path) as fleet:
        assert fleet.says(status(11)) == "unsigned"
        assert fleet.says(status(10), key, retained=True) is None
        assert fleet.states() == {CAM: "COMMITTED"}


def test_a_damaged_registry_believes_nobody_and_says_so(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    path = Registry(fleet.repo).folder / "cam-1.json"
    path.unlink()  # so that the folder changes
    path.write_text("{")
    assert fleet.says(status(11, State.FAILED), key) == "bad_signature"
    assert fleet.says(status(11, State.FAILED)) == "unsigned"
    assert fleet.states() == {CAM: "COMMITTED"}
    assert len([text for text in fleet.problems if "cam-1.json" in text]) == 1


# --- when it was said -----------------------------------------------------------------------------


def test_an_old_report_that_is_shown_again_changes_nothing(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    old = status(11, State.FAILED)
    assert fleet.says(old, key) is None
    assert fleet.says(status(12, State.COMMITTED), key) is None
    assert fleet.says(old, key) == "replayed"
    assert (fleet.states()[CAM], refused(fleet)) == ("COMMITTED", ("replayed", 1))
    assert fleet.says(old, key, retained=True) == "older_counter", "a broker may have kept it"
    assert refused(fleet) == ("replayed", 1)
    assert fleet.device()["twins_seen_s"] is None


def test_metrics_that_are_shown_again_are_not_counted_again(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    assert fleet.says(metrics(10), key) == "repeated"
    assert fleet.says(metrics(200), key) is None
    assert fleet.says(metrics(10), key) == "replayed"
    assert len(fleet.rows(tables.metrics)) == 2
    assert refused(fleet) == ("replayed", 1)


def test_a_false_presence_does_not_let_old_reports_count_anew(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    """Presence is not signed: that another run of the software began must not be believed."""
    old = status(9, State.FAILED)
    assert fleet.says(given.presence(time=int(NOW_S) + 50, session="false")) is None
    assert fleet.says(old, key) == "replayed"
    assert fleet.states() == {CAM: "COMMITTED"}


def test_two_devices_with_one_key_are_noticed_by_the_counter(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    """A copy of the whole device: the same key, and the counter as it was when it was copied."""
    assert fleet.says(status(50), key) is None
    copy = status(11, State.FAILED, time=int(NOW_S) + 60)
    assert fleet.says(copy, key) == "older_counter"
    assert "copy" in fleet.device()["twins_why"]
    assert fleet.states() == {CAM: "COMMITTED"}


def test_two_devices_that_count_alike_are_noticed_too(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    assert fleet.says(status(10, State.FAILED), key) == "contradicting"
    assert "differ" in fleet.device()["twins_why"]


def test_a_device_whose_disk_failed_comes_back_to_its_own_counter(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    """It counted by its clock meanwhile (`status_counter`), and no other signed that."""
    at_s = int(fleet.now_s) + 1
    assert fleet.says(status(at_s * 1000, time=at_s), key) is None
    assert fleet.says(status(1001, State.TRIAL, time=at_s + 5), key) is None
    assert (fleet.states()[CAM], fleet.device()["twins_seen_s"]) == ("TRIAL", None)


def test_a_new_key_counts_from_the_beginning_and_the_old_one_no_more(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    new = new_key()
    enrol(fleet.repo, "cam-1", new, replaces=True)
    assert fleet.says(status(1, State.TRIAL), new) is None
    assert fleet.says(metrics(1), new) is None
    assert fleet.says(status(99), key) == "bad_signature"
    assert fleet.states() == {CAM: "TRIAL"}
    assert len(fleet.rows(tables.metrics)) == 2


# --- what a person sees, and what others read -----------------------------------------------------


def test_what_is_refused_in_a_devices_name_raises_an_alarm(
    fleet: HearingFleet, key: DeviceIdentity
) -> None:
    del key
    assert fleet.says(status(11), new_key()) == "bad_signature"
    limits = AlarmSettings()
    with (
        open_database(fleet.repo / "fleet.db") as database,
        database.reading() as connection,
    ):
        found = read_devices(connection, limits, fleet.now_s)
    (facts,) = [one for one in found if one.refused_s]
    raised = judge(Facts(fleet.now_s, devices=[facts]), limits).findings
    assert (AlarmKind.REPORTS_REFUSED, "cam-1") in {(one.kind, one.subject) for one in raised}


def test_readers_of_before_take_a_signed_report_as_ever() -> None:
    """They ignore fields that they do not know, so the message is the one that they know."""
    plain, key = status(11), new_key()
    fields = msgpack.unpackb(encode_report(plain, key))
    assert fields.pop("signature") is not None
    before = msgspec.msgpack.encode(fields)
    assert wire.decode(before, Status) == plain


@pytest.mark.parametrize("kind", [Status, Metrics])
def test_the_signature_is_the_last_field_and_costs_few_bytes(kind: type[Status | Metrics]) -> None:
    assert kind.__struct_fields__[-1] == "signature"
    report = status(11) if kind is Status else metrics(11)
    grows = len(encode_report(report, new_key())) - len(wire.encode(report))
    assert grows == SIGNATURE_BYTES + 1
