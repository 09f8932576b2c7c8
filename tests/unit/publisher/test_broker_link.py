"""What the broker did decides which protocol the publisher speaks, not how it was worded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import ConnectWaits
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown

ACCEPTED_311 = b"\x20\x02\x00\x00"
UNACCEPTABLE_VERSION_311 = b"\x20\x02\x00\x01"
UNSUPPORTED_VERSION_5 = b"\x20\x03\x00\x84\x00"
NOT_AUTHORIZED_5 = b"\x20\x03\x00\x87\x00"
SILENCE = b"no answer at all"


@contextmanager
def broker(answer_to_mqtt5: bytes) -> Iterator[tuple[str, list[int]]]:
    """A broker of MQTT 3.1.1; gives its URL and the protocol levels that it was asked in."""
    levels: list[int] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connect = connection.recv(4096)
                levels.append(connect[connect.index(b"MQTT") + 4])
                answer = answer_to_mqtt5 if levels[-1] == 5 else ACCEPTED_311
                connection.sendall(b"" if answer == SILENCE else answer)
                while (levels[-1] == 4 or answer == SILENCE) and connection.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"mqtt://127.0.0.1:{listener.getsockname()[1]}", levels
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [UNACCEPTABLE_VERSION_311, UNSUPPORTED_VERSION_5, b"", SILENCE],
    ids=["as 3.1.1 says it", "as 5 says it", "hangs up", "says nothing"],
)
def test_a_broker_of_the_older_protocol_is_asked_in_it(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library words the answer anew."""
    monkeypatch.setattr("paho.mqtt.reasoncodes.ReasonCode.__str__", lambda _: "worded anew")
    waits = ConnectWaits(other_protocol_s=0.5)
    with broker(answer) as (url, levels), open_link(Broker(url=url), Path(), waits=waits) as link:
        assert link.protocol == "3.1.1"
    assert levels == [5, 4]


def test_a_refusal_for_another_reason_is_not_asked_again_in_another_protocol() -> None:
    with (
        broker(NOT_AUTHORIZED_5) as (url, levels),
        pytest.raises(BrokerRefused),
        open_link(Broker(url=url), Path()),
    ):
        pass
    assert levels == [5]


def test_a_broker_that_never_says_anything_is_down_and_not_refusing() -> None:
    """So it is tried again soon."""
    waits = ConnectWaits(answer_s=0.2, other_protocol_s=0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(LinkDown, match="no answer"),
        open_link(Broker(url=f"mqtt://127.0.0.1:{silent.getsockname()[1]}"), Path(), waits=waits),
    ):
        pass
