"""Posts to a real server on this machine: signed, in order, tried again, and nobody waits."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.alarm_settings import Webhook
from slotcast_publisher.fleet.alarms.webhook import (
    Address,
    Post,
    Poster,
    PostingBounds,
    read_secret,
)
from slotcast_schemas.errors import UsageError
from tests.support.ports import free_ports
from tests.support.webhook_receiver import Receiver, receiving

SECRET = b"a secret of some length"
NOW_S = 1_800_000_000.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


HASTY = PostingBounds(retry_first_s=0.01, retry_cap_s=0.02)


@contextmanager
def posting(
    receiver: Receiver, url: str | None = None, bounds: PostingBounds = HASTY, **fields: Any
) -> Iterator[Poster]:
    webhook = Webhook(url=url or f"{receiver.url}/hook?for=alarms", **fields)
    rng = random.Random(1)
    poster = Poster(webhook, SECRET, receiver.say, rng, lambda: NOW_S, bounds=bounds)
    poster.start()
    yield poster
    poster.close()


def post(number: int = 1, made_s: float = NOW_S) -> Post:
    return Post(number, json.dumps({"number": number}).encode(), made_s)


def test_a_post_is_signed_over_time_and_body(receiver: Receiver) -> None:
    with posting(receiver) as poster:
        poster.post(post())
        receiver.wait_for(lambda: receiver.got)
        done = poster.done()
        while not done:  # between the answer and the note of it
            threading.Event().wait(0.01)
            done = poster.done()
        assert done == [(1, NOW_S)]
        assert poster.done() == []
    (got,) = receiver.got
    assert got["path"] == "/hook?for=alarms"
    headers = got["headers"]
    assert headers["Content-Type"] == "application/json"
    signed = headers["Slotcast-Timestamp"].encode() + b"." + got["body"]
    digest = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert headers["Slotcast-Signature"] == f"v1={digest}"
    assert headers["Slotcast-Timestamp"] == str(int(NOW_S))


def test_what_fails_is_tried_again_in_order_and_said_once(receiver: Receiver) -> None:
    receiver.answers = [500, 503, 429, 204]
    with posting(receiver) as poster:
        for number in (1, 2):
            poster.post(post(number))
        receiver.wait_for(lambda: len(receiver.got) == 5)
    assert receiver.bodies() == [post(1).body] * 4 + [post(2).body]
    assert receiver.events() == ["webhook_failing", "webhook_works"]
    assert receiver.lines[0]["detail"] == "answered 500"


def test_what_is_refused_is_given_up_and_told_and_the_next_goes_on(receiver: Receiver) -> None:
    receiver.answers = [400, 400, 400]
    with posting(receiver) as poster:
        for number in (1, 2):
            poster.post(post(number))
        receiver.wait_for(lambda: len(receiver.got) == 4)
        receiver.wait_for(lambda: "webhook_works" in receiver.events())
    lost = next(line for line in receiver.lines if line["event"] == "webhook_lost")
    assert (lost["lost"], lost["detail"]) == ({"number": 1}, "answered 400")
    assert receiver.bodies()[-1] == post(2).body


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [307, 301, 302]
    with posting(receiver) as poster:
        poster.post(post())
        receiver.wait_for(lambda: "webhook_lost" in receiver.events())
    assert {got["path"] for got in receiver.got} == {"/hook?for=alarms"}
    assert "redirect" in receiver.lines[0]["detail"]


def test_what_is_a_day_old_is_given_up(receiver: Receiver) -> None:
    receiver.answers = [500]
    with posting(receiver) as poster:
        poster.post(post(made_s=NOW_S - 86_401))
        receiver.wait_for(lambda: "webhook_lost" in receiver.events())
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "drip", [b"", b"HTTP/1.1 2", b"not HTTP\r\n", b"HTTP/1.1 204" + b"x" * 9000]
)
def test_a_server_that_hangs_drips_or_babbles_is_left_after_the_time_limit(
    receiver: Receiver, drip: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def hang() -> None:
            connection, _ = server.accept()
            held.append(connection)
            connection.sendall(drip)

        thread = threading.Thread(target=hang)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with posting(receiver, url, timeout_s=0.2) as poster:
            poster.post(post())  # returns at once
            receiver.wait_for(lambda: "webhook_failing" in receiver.events())
        thread.join()
        held[0].close()
    assert receiver.lines[0]["webhook"] == url.removeprefix("http://").rstrip("/")


def test_nobody_waits_and_nothing_grows_while_nothing_is_taken(receiver: Receiver) -> None:
    bounds = PostingBounds(waiting_max=50, close_s=0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with posting(receiver, url, bounds, timeout_s=60.0) as poster:
            for number in range(500):
                poster.post(post(number))
            assert len(poster._waiting) == 50
    lost = [line["lost"]["number"] for line in receiver.lines if line["event"] == "webhook_lost"]
    assert lost == list(range(450))  # the oldest


def test_nobody_there_is_an_error_like_others_and_shows_no_path_or_secret(
    receiver: Receiver,
) -> None:
    (port,) = free_ports(1)
    with posting(receiver, f"http://127.0.0.1:{port}/T0/path-that-is-secret") as poster:
        poster.post(post())
        receiver.wait_for(lambda: receiver.lines)
    said = repr(receiver.lines)
    assert receiver.events() == ["webhook_failing"]
    assert "secret" not in said
    assert SECRET.decode() not in said


@pytest.mark.parametrize(
    "url",
    ["", "ftp://h/x", "https://", "https://u:p@h/", "http://h/\r\nX: y", "http://h/ b"],
)
def test_an_address_that_cannot_be_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="expected https://HOST") as refused:
        Address.parse(url)
    assert len(url) < 9 or url not in str(refused.value)


def test_the_secret_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLOTCAST_WEBHOOK_SECRET", raising=False)
    (tmp_path / "hook.secret").write_text("from a file, long enough\n")
    webhook = Webhook(url="https://h/", secret_file="hook.secret")
    assert read_secret(webhook, tmp_path) == b"from a file, long enough"
    monkeypatch.setenv("SLOTCAST_WEBHOOK_SECRET", "from the environment")
    assert read_secret(webhook, tmp_path) == b"from the environment"


def test_a_secret_that_is_missing_or_short_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLOTCAST_WEBHOOK_SECRET", raising=False)
    with pytest.raises(UsageError, match="file names, or into SLOTCAST_W"):
        read_secret(Webhook(url="https://h/"), tmp_path)
    with pytest.raises(UsageError, match=r"gone\): cannot be read: No such file"):
        read_secret(Webhook(url="https://h/", secret_file="gone"), tmp_path)
    monkeypatch.setenv("SLOTCAST_WEBHOOK_SECRET", "short")
    with pytest.raises(UsageError, match="16 characters or more") as refused:
        read_secret(Webhook(url="https://h/"), tmp_path)
    assert "short" not in str(refused.value)
