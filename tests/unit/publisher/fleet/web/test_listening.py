"""Where the page listens, and what is said of it where others could read along."""

from __future__ import annotations

import contextlib
import socket

import pytest

from slotcast_publisher.fleet.web.listening import open_socket, unsafe_words
from slotcast_publisher.page_settings import PageSettings

HTTPS = PageSettings(url="https://fleet.example.org", proxies=("10.0.0.7",))


def said(host: str, settings: PageSettings) -> str | None:
    with contextlib.closing(open_socket(host, 0)) as opened:
        return unsafe_words(opened, settings)


def test_on_this_machine_alone_nobody_reads_along() -> None:
    assert said("127.0.0.1", PageSettings()) is None
    assert said("localhost", PageSettings()) is None


@pytest.mark.parametrize("settings", [PageSettings(), PageSettings(url="http://fleet.example.org")])
def test_a_page_that_others_reach_without_https_says_so(settings: PageSettings) -> None:
    words = said("0.0.0.0", settings)

    assert words is not None
    assert "0.0.0.0:" in words
    assert "without encryption" in words
    assert "[page] url and proxies" in words


def test_every_address_by_ipv6_is_no_loopback() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        words = said("::", PageSettings())
    except OSError as exc:
        pytest.skip(f"no IPv6 here: {exc}")
    assert words is not None


def test_behind_a_proxy_that_speaks_https_nothing_is_said() -> None:
    assert said("0.0.0.0", HTTPS) is None


def test_https_by_a_proxy_that_nobody_named_leaves_cookies_unmarked() -> None:
    words = said("127.0.0.1", PageSettings(url="https://fleet.example.org"))

    assert words is not None
    assert "page.proxies names no proxy" in words
