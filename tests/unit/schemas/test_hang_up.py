"""How an end without an answer is told from a refusal, whatever this Python calls it."""

from __future__ import annotations

import ssl

import pytest

from slotcast_schemas.broker import is_hang_up


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
