"""Sigstore identities that a policy allows: judged offline, of real bundles by the public instance.

Each test begins with a bundle that somebody made with Sigstore's own services in 2025, and with
the public keys of these (`tests/assets/oms`); nothing of it is forged where it must be taken.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from slotcast_schemas.errors import BadSignature, MalformedMessage, RefusedRelease, UsageError
from tests.support.oms_bundles import IDENTITY, ISSUER, OMS, Given

BUNDLE = "v1.1.0-sigstore"
ENTRY = ("verificationMaterial", "tlogEntries", "0")
TIMESTAMPS = ("verificationMaterial", "timestampVerificationData")


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path, BUNDLE, "sigstore")


def test_an_identity_is_judged_long_after_and_nobody_is_asked(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate counted for ten minutes in 2025: what counts is the time that was signed."""

    def refuse(*_words: object) -> NoReturn:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert given.check().signer == f"{IDENTITY} of {ISSUER}, by sigstore-trusted-root.json"


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [(f"x{IDENTITY}", ISSUER), (IDENTITY.upper(), ISSUER), (IDENTITY, f"{ISSUER}/"), ("*", "*")],
)
def test_nearly_the_same_identity_or_issuer_is_another(
    given: Given, identity: str, issuer: str
) -> None:
    given.allow(
        f'identity = "{identity}"\nissuer = "{issuer}"\ntrusted_root = "sigstore-trusted-root.json"'
    )
    with pytest.raises(BadSignature, match="expected"):
        given.check()


def test_what_other_authorities_vouch_for_is_not_believed(given: Given) -> None:
    """The same by Sigstore's own test instance, which gives anybody any certificate."""
    given.allow(
        f'identity = "{IDENTITY}"\nissuer = "{ISSUER}"\ntrusted_root = "staging-trusted-root.json"'
    )
    with pytest.raises(BadSignature):
        given.check()


@pytest.mark.parametrize("part", ["tlogs", "certificateAuthorities", "ctlogs"])
def test_each_authority_and_log_of_the_trusted_root_is_needed(given: Given, part: str) -> None:
    path = given.keys / "sigstore-trusted-root.json"
    root = json.loads(path.read_text())
    root[part] = json.loads((given.keys / "staging-trusted-root.json").read_text())[part]
    path.write_text(json.dumps(root))
    with pytest.raises(BadSignature):
        given.check()


def test_without_a_signed_time_a_certificate_of_minutes_proves_nothing(given: Given) -> None:
    given.change(*TIMESTAMPS, to=None)
    assert given.check().files, "the log's time is enough"
    given.change(*ENTRY, "inclusionPromise", to=None)
    with pytest.raises(MalformedMessage, match="timestamp"):
        given.check()


def test_without_an_entry_in_the_log_it_is_none(given: Given) -> None:
    given.change("verificationMaterial", "tlogEntries", to=[])
    with pytest.raises(MalformedMessage):
        given.check()


@pytest.mark.parametrize(
    "path",
    [
        ("verificationMaterial", "certificate"),
        ("verificationMaterial", "tlogEntries"),
        ("dsseEnvelope",),
        ("dsseEnvelope", "payload"),
        ("dsseEnvelope", "signatures"),
    ],
    ids=".".join,
)
def test_a_part_of_another_bundle_of_the_same_identity_is_noticed(
    given: Given, path: tuple[str, ...]
) -> None:
    part = json.loads((OMS / "v1.0.1-sigstore/model.sig").read_text())
    for name in path:
        part = part[name]
    given.change(*path, to=part)
    with pytest.raises(BadSignature):
        given.check()


ODD: tuple[Any, ...] = (0, -1, 2**70, "", "AAAA", "\0", [], [[]], {}, {"a": 1}, True)


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the way to each field."""
    if path:
        yield path
    named = dict(enumerate(value)) if isinstance(value, list) else value
    for key, child in named.items() if isinstance(named, dict) else ():
        name = str(key)
        yield from _paths(child, (*path, name))


def test_any_field_that_is_odd_is_refused_or_does_not_matter(given: Given) -> None:
    """Nothing that a stranger writes there ends the command otherwise."""
    good, signer = given.bundle, given.check().signer
    refused = 0
    for path in _paths(json.loads(good)):
        for odd in ODD:
            given.bundle = good
            given.change(*path, to=odd)
            try:
                assert given.check().signer == signer
            except RefusedRelease:
                refused += 1
    assert refused > 500


def test_a_trusted_root_that_is_none_is_named(given: Given) -> None:
    path = given.keys / "sigstore-trusted-root.json"
    for text in ("", "{}", "[]", '{"mediaType": "application/json"}'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"sigstore-trusted-root\.json: expected a trusted"):
            given.check()
    path.unlink()
    with pytest.raises(UsageError, match=r"sigstore-trusted-root\.json: expected a trusted"):
        given.check()


def test_without_the_library_it_is_refused_with_what_to_install(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.verify", None)
    with pytest.raises(UsageError, match=r"slotcast-publisher\[sigstore\]"):
        given.check()


def test_a_policy_that_names_half_of_an_identity_is_refused(given: Given) -> None:
    for rule in (
        f'identity = "{IDENTITY}"',
        f'identity = "{IDENTITY}"\nissuer = "{ISSUER}"',
        f'issuer = "{ISSUER}"\ntrusted_root = "sigstore-trusted-root.json"',
        f'identity = "{IDENTITY}"\nissuer = "{ISSUER}"\ntrusted_root = "x"\nkey = "y"',
    ):
        given.allow(rule)
        with pytest.raises(UsageError, match="expected either"):
            given.check()
