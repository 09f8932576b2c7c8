"""The page as a child of `serve`: a real process, killed, started again, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from slotcast_publisher.fleet.web import child
from slotcast_publisher.fleet.web.child import PageChild
from slotcast_publisher.repository import Repository
from tests.support.ports import free_ports
from tests.support.serving import Served
from tests.support.waiting import WAIT_S, wait_until


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return Repository.init(tmp_path / "repo").path


@contextlib.contextmanager
def running(repo: Path, listen: str, served: Served) -> Iterator[PageChild]:
    page = PageChild(repo, None, listen, served.say)
    page.look(0)
    try:
        yield page
    finally:
        page.close()


def process_of(page: PageChild) -> subprocess.Popen[bytes]:
    assert page._process is not None
    return page._process


def test_a_page_that_is_killed_comes_again_and_ends_with_serve(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_AGAIN_S", (0.0, 0.0))
    served = Served()
    with running(repo, "127.0.0.1:0", served) as page:
        url = served.wait_for("page_listens")["url"]
        assert "/link/" in served.wait_for("page_first_start")["link"]
        assert httpx.get(f"{url}/sign-in", timeout=WAIT_S).status_code == 200

        first = process_of(page)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(WAIT_S)
        page.look(0)
        assert served.wait_for("page_ended")["code"] == -signal.SIGKILL
        assert served.wait_for("page_listens", count=2)["url"] == url
        assert httpx.get(f"{url}/sign-in", timeout=WAIT_S).status_code == 200
        last = process_of(page)
    assert last.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/sign-in", timeout=WAIT_S)


def test_a_port_that_is_taken_is_said_once_and_tried_again(repo: Path) -> None:
    served = Served()
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as other:
        listen = f"127.0.0.1:{port}"
        with running(repo, listen, served) as page:
            page.look(0)
            assert len(served.of("page_unavailable")) == 1
            assert "--listen" in served.of("page_unavailable")[0]["detail"]
            other.close()
            page.look(0)
            assert served.wait_for("page_listens")["url"] == f"http://{listen}"


def test_a_page_that_others_reach_without_https_is_warned_of_at_its_start(repo: Path) -> None:
    served = Served()
    with running(repo, "0.0.0.0:0", served):
        served.wait_for("page_listens")
        warning = served.wait_for("page_unsafe")
    assert warning["level"] == "warning"
    assert "without encryption" in warning["detail"]


def test_a_page_ends_when_serve_is_killed(repo: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from slotcast_publisher.fleet.web.child import PageChild\n"
        "page = PageChild(Path(sys.argv[1]), None, '127.0.0.1:0', lambda *a, **k: None)\n"
        "page.look(0)\n"
        "print(page._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(repo)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    parent.kill()
    parent.wait(WAIT_S)
    parent.stdout.close()
    assert parent.stdin is not None
    parent.stdin.close()
    wait_until(lambda: not _is_alive(number), "the page has ended")


def _is_alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_child_knows_no_passphrase(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTCAST_PASSPHRASE", "of the keys")
    monkeypatch.setenv("SLOTCAST_PIN", "1234")
    monkeypatch.setenv("SLOTCAST_WEBHOOK_SECRET", "of alarms")
    given = PageChild(repo, "postgresql://u:p@h/n", "127.0.0.1:0", Served().say)._environment()
    assert "SLOTCAST_PASSPHRASE" not in given
    assert "SLOTCAST_PIN" not in given
    assert "SLOTCAST_WEBHOOK_SECRET" not in given
    assert given["SLOTCAST_DATABASE"] == "postgresql://u:p@h/n"
