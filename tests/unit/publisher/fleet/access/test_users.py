"""Users, their links and sessions, as the database keeps them; the clock is the test's."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.access.audit import Actor, entries
from slotcast_publisher.fleet.access.passwords import hash_password, is_password
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.access.sessions import IDLE_S, LONGEST_S, PER_USER_MAX, Sessions
from slotcast_publisher.fleet.access.tokens import Tokens
from slotcast_publisher.fleet.access.users import LINK_S, Users
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.retention import DAY_S, forget_old
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas.errors import UsageError
from tests.support.fleet_database import count

ADMIN = Actor("ada", "session", "10.0.0.1")
PASSWORD = "correct horse battery"
NOW_S = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = float(NOW_S)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(database: Database, clock: Clock) -> Users:
    return Users(database, clock)


def test_a_name_is_there_once_however_it_is_written(users: Users) -> None:
    assert users.add(" Anna@Example.org ", Role.VIEWER, ADMIN).name == "anna@example.org"
    with pytest.raises(Conflict, match="already"):
        users.add("ANNA@example.org", Role.ADMIN, ADMIN)
    for wrong in ("", "-x", "a b", "a\0", "ä", "x" * 65, "<b>"):
        with pytest.raises(UsageError, match="expected 1 to 64 letters"):
            users.add(wrong, Role.VIEWER, ADMIN)


def test_somebody_can_always_administer(users: Users) -> None:
    users.add("ada", Role.ADMIN, ADMIN)
    for change in (
        lambda: users.set_role("ada", Role.VIEWER, ADMIN),
        lambda: users.remove("ada", ADMIN),
    ):
        with pytest.raises(Conflict, match="only admin"):
            change()
    users.add("bob", Role.ADMIN, ADMIN)
    users.remove("ada", ADMIN)
    assert [user.name for user in users.all()] == ["bob"]


def test_a_link_works_once_and_for_an_hour_and_the_newest_alone(users: Users, clock: Clock) -> None:
    users.add("anna", Role.VIEWER, ADMIN)
    first, second = users.make_link("anna", ADMIN), users.make_link("anna", ADMIN)
    with pytest.raises(NotFound, match="was used"):
        users.read_link(first)
    clock.now_s += LINK_S - 1
    assert users.read_link(second).user == "anna"
    with pytest.raises(UsageError, match="12 to 200"):
        users.use_link(second, "", "short", "10.0.0.1")
    users.use_link(second, "eve", PASSWORD, "10.0.0.1")  # the name is the link's
    assert users.check("anna", PASSWORD) is not None
    assert users.find("eve") is None
    with pytest.raises(NotFound, match="was used"):
        users.use_link(second, "", PASSWORD, "10.0.0.1")

    third = users.make_link("anna", ADMIN)
    clock.now_s += LINK_S
    with pytest.raises(NotFound, match="older than an hour"):
        users.use_link(third, "", PASSWORD, "10.0.0.1")


def test_whose_link_is_dead_is_told_how_to_get_another(users: Users, clock: Clock) -> None:
    owners = users.make_owners_link(ADMIN)
    assert owners is not None
    clock.now_s += LINK_S
    with pytest.raises(NotFound, match=r"users add REPO NAME --role admin` prints another"):
        users.read_link(owners)
    users.add("ada", Role.ADMIN, ADMIN)
    with pytest.raises(NotFound, match="ask an admin for another"):
        users.read_link(owners)


def test_of_two_owners_links_one_makes_an_owner(users: Users) -> None:
    first = users.make_owners_link(ADMIN)
    second = users.make_owners_link(ADMIN)
    assert first is not None
    assert second is not None
    with pytest.raises(NotFound, match="was used"):
        users.read_link(first)
    users.use_link(second, "olga", PASSWORD, "")
    assert users.make_owners_link(ADMIN) is None
    assert [(user.name, user.role) for user in users.all()] == [("olga", Role.ADMIN)]


def test_a_new_password_ends_sessions_and_links(
    users: Users, database: Database, clock: Clock
) -> None:
    users.add("anna", Role.VIEWER, ADMIN)
    sessions = Sessions(database, clock)
    secret, link = sessions.begin("anna", "", ""), users.make_link("anna", ADMIN)
    users.set_password("anna", PASSWORD, ADMIN)
    assert sessions.find(secret) is None
    with pytest.raises(NotFound, match="was used"):
        users.read_link(link)


def test_a_session_ends_unused_and_in_any_case(
    users: Users, database: Database, clock: Clock
) -> None:
    users.add("anna", Role.VIEWER, ADMIN)
    sessions = Sessions(database, clock)
    unused, used = sessions.begin("anna", "", ""), sessions.begin("anna", "", "")
    for _ in range(LONGEST_S // (IDLE_S - 60)):
        clock.now_s += IDLE_S - 60
        assert sessions.find(used) is not None
    assert sessions.find(unused) is None
    clock.now_s = NOW_S + LONGEST_S
    assert sessions.find(used) is None


def test_a_role_counts_at_once_and_a_user_who_is_gone_is_nobody(
    users: Users, database: Database, clock: Clock
) -> None:
    users.add("anna", Role.OPERATOR, ADMIN)
    sessions = Sessions(database, clock)
    secret = sessions.begin("anna", "", "")
    users.set_role("anna", Role.VIEWER, ADMIN)
    found = sessions.find(secret)
    assert found is not None
    assert found.role is Role.VIEWER
    users.remove("anna", ADMIN)
    users.add("anna", Role.ADMIN, ADMIN)  # another person of the same name
    assert sessions.find(secret) is None


def test_the_oldest_of_too_many_sessions_goes(
    users: Users, database: Database, clock: Clock
) -> None:
    users.add("anna", Role.VIEWER, ADMIN)
    sessions = Sessions(database, clock)
    secrets = []
    for _ in range(PER_USER_MAX + 1):
        clock.now_s += 1
        secrets.append(sessions.begin("anna", "", ""))
    assert [sessions.find(secret) is not None for secret in secrets[:2]] == [False, True]
    assert count(database, tables.sessions) == PER_USER_MAX


def test_each_change_says_who_and_what_was_and_no_secret(users: Users, database: Database) -> None:
    users.add("anna", Role.VIEWER, ADMIN)
    users.set_role("anna", Role.OPERATOR, ADMIN)
    users.set_password("anna", PASSWORD, ADMIN)
    users.remove("anna", ADMIN)
    with database.reading() as connection:
        found = entries(connection, before_id=None, limit=10)
    assert [(e.action, e.subject, e.before, e.after) for e in reversed(found)] == [
        ("user.add", "anna", "", '{"role":"viewer"}'),
        ("user.role", "anna", '{"role":"viewer"}', '{"role":"operator"}'),
        ("user.password", "anna", "", ""),
        ("user.remove", "anna", '{"role":"operator"}', ""),
    ]
    assert {(e.who, e.how, e.address) for e in found} == {("ada", "session", "10.0.0.1")}


def test_a_copied_database_signs_nobody_in(users: Users, database: Database, clock: Clock) -> None:
    users.add("anna", Role.ADMIN, ADMIN)
    users.set_password("anna", PASSWORD, ADMIN)
    session = Sessions(database, clock).begin("anna", "", "")
    _, token = Tokens(database, clock).make("ci", frozenset({Permission.SEE}), 1, ADMIN)
    link = users.make_link("anna", ADMIN)
    kept = b""
    with database.reading() as connection:
        for table in tables.METADATA.sorted_tables:
            for row in connection.execute(select(table)):
                kept += repr(tuple(row)).encode()
    assert b"$argon2id$" in kept
    for secret in (PASSWORD, session, token[-43:], link):
        assert secret.encode() not in kept


def test_two_keyboards_write_one_password() -> None:
    kept = hash_password("Zürich ﬁfty-one")
    assert is_password("Zu\u0308rich fifty-one", kept)
    assert not is_password("Zurich fifty-one", kept)
    assert not is_password("x" * 1_000_000, kept)
    assert not is_password(PASSWORD, "")


def test_what_has_ended_is_forgotten(users: Users, database: Database, clock: Clock) -> None:
    users.add("anna", Role.ADMIN, ADMIN)
    Sessions(database, clock).begin("anna", "", "")
    Tokens(database, clock).make("ci", frozenset({Permission.SEE}), 1, ADMIN)
    users.make_link("anna", ADMIN)
    kept = (tables.sessions, tables.links, tables.tokens, tables.audit)
    forget_old(database, FleetSettings(), clock.now_s)
    assert all(count(database, table) > 0 for table in kept)
    forget_old(database, FleetSettings(), clock.now_s + 400 * DAY_S)
    assert [count(database, table) for table in kept] == [0, 0, 0, 0]
    assert count(database, tables.users) == 1
