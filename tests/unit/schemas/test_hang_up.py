"""How an end without an answer is told from a refusal, and from nobody there."""

from __future__ import annotations

import ssl

import pytest

from slotcast_schemas.broker import HungUp, explain_unopened, is_hang_up
from slotcast_schemas.errors import BrokerRefused, LinkDown


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)"),
    ],
)
def test_an_end_without_a_word_is_a_hang_up(error: OSError) -> None:
    """Python 3.11.2, Debian 12's own, has the last one for an end within the handshake."""
    assert is_hang_up(error)


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError(1, "tlsv13 alert certificate required"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError("timed out"),
    ],
)
def test_who_says_why_did_not_just_hang_up(error: OSError) -> None:
    assert not is_hang_up(error)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            ConnectionResetError(104, "Connection reset by peer"),
            HungUp,
            "broker:1883: closed the connection before it answered",
        ),
        (
            ssl.SSLError(1, "tlsv13 alert certificate required"),
            BrokerRefused,
            "broker:1883: TLS failed: ",
        ),
        (
            ConnectionRefusedError(111, "Connection refused"),
            LinkDown,
            "broker:1883: cannot connect: Connection refused",
        ),
        (TimeoutError("timed out"), LinkDown, "broker:1883: cannot connect: timed out"),
    ],
)
def test_only_who_said_so_refuses(error: OSError, kind: type[Exception], words: str) -> None:
    failure = explain_unopened("broker:1883", error, is_tls=False)

    assert type(failure) is kind
    assert str(failure).startswith(words)


@pytest.mark.parametrize(("is_tls", "cause"), [(True, "has no TLS"), (False, "expects TLS")])
def test_a_hang_up_is_explained_by_what_was_spoken(*, is_tls: bool, cause: str) -> None:
    failure = explain_unopened("broker", BrokenPipeError(32, "Broken pipe"), is_tls=is_tls)

    assert cause in str(failure)
