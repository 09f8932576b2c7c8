"""A broker that hangs up before it answers is a lost link: worth trying again, and said clearly.

So do a container's proxy while its broker starts, and a port for TLS that is spoken to without.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from slotcast_publisher.certificates.renewals import RenewalOffice
from slotcast_publisher.cli import app, exit_code
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.heard_renewals import Renewals
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.topics import Topics
from tests.support.broker_front import BrokerFront
from tests.support.certificates import Authority
from tests.support.cli_runner import CliRunner
from tests.support.serving import Served
from tests.unit.publisher.test_serve_listener import HANGS_UP, broker_of

CAUSES = ("still starts", "expects TLS (mqtts://)", "a proxy stands there without a broker")


@pytest.mark.parametrize(("protocol", "asked"), [("auto", 2), ("5", 1), ("3.1.1", 1)])
def test_where_no_protocol_is_left_the_link_is_down(protocol: Any, asked: int) -> None:
    with (
        BrokerFront() as front,
        pytest.raises(LinkDown) as lost,
        open_link(Broker(url=front.url, protocol=protocol), Path()),
    ):
        pass
    assert front.connections == asked
    for cause in (*CAUSES, "Try again soon", "whoever runs the broker"):
        assert cause in str(lost.value)


def test_so_it_is_where_tls_is_spoken_to_what_has_none() -> None:
    with (
        BrokerFront() as front,
        pytest.raises(LinkDown) as lost,
        open_link(Broker(url=front.url.replace("mqtt:", "mqtts:")), Path()),
    ):
        pass
    assert "this port has no TLS (mqtt://)" in str(lost.value)
    assert "certificate" in str(lost.value)


def test_a_port_that_answers_without_tls_refuses() -> None:
    """To ask again soon would not help."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_in_plain_text, args=(listener,))
        thread.start()
        where = Broker(url=f"mqtts://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(BrokerRefused, match="TLS failed"), open_link(where, Path()):
            pass
        thread.join()


def _answer_in_plain_text(listener: socket.socket) -> None:
    made, _ = listener.accept()
    with made, contextlib.suppress(OSError):  # the client may be gone with bytes unread
        made.recv(4096)
        made.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        made.recv(4096)


def test_a_certificate_that_is_refused_after_the_handshake_is_a_refusal(tmp_path: Path) -> None:
    """In TLS 1.3 a server says only then that it wants one; its word is worth more than causes."""
    authority = Authority(tmp_path, "ca")
    server = authority.issue_server("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_shake_hands, args=(listener, context))
        thread.start()
        url = f"mqtts://127.0.0.1:{listener.getsockname()[1]}"
        where = Broker(url=url, ca=str(authority.certificate))
        with pytest.raises(BrokerRefused, match=r"(?i)certificate required"):
            open_link(where, Path()).__enter__()
        thread.join()


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Do so, say what is wrong, and read what the client still sends, so that it reads that."""
    made, _ = listener.accept()
    with context.wrap_socket(made, server_side=True, do_handshake_on_connect=False) as wrapped:
        with pytest.raises(ssl.SSLError):
            wrapped.do_handshake()
        wrapped.shutdown(socket.SHUT_WR)
        while wrapped.recv(4096):
            pass


def test_who_listens_for_renewals_asks_again_soon() -> None:
    served = Served()
    with broker_of([HANGS_UP, HANGS_UP, 1]) as port:
        broker = Broker(url=f"mqtt://127.0.0.1:{port}", protocol="3.1.1")
        office = cast("RenewalOffice", None)
        renewals = Renewals(broker, Path(), Topics(), office, served.say, random.Random(1))
        stop = threading.Event()
        thread = threading.Thread(target=renewals.run, args=(stop,))
        thread.start()
        try:
            served.wait_for("hears_renewals")
        finally:
            stop.set()
            thread.join(30)
    assert not served.of("deaf_to_renewals")


def test_publish_says_so_and_ends_with_3_after_a_few_connections(repo: Repository) -> None:
    with BrokerFront() as front:
        words = ["publish", str(repo.path), "clf", "1.0", "--broker", front.url]
        result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, LinkDown)
    assert exit_code(result.exception) == 3
    assert all(cause in str(result.exception) for cause in CAUSES)
    assert front.connections == 12, "three times before it signs and three after, by each protocol"


def test_check_says_so_and_ends_with_3() -> None:
    with BrokerFront() as front:
        result = CliRunner().invoke(app, ["check", "--broker", front.url])
    assert isinstance(result.exception, BrokerRefused)
    assert exit_code(result.exception) == 3
    assert all(cause in result.stdout for cause in CAUSES)
    assert "you: check the address, and that the broker runs" in result.stdout
    assert front.connections == 2
