"""A stock client of python-tuf believes what a repository publishes, and no more than that.

What goes over the wire, a notice, is laid out in files by its own names and served over plain HTTP;
the client is a script in a process of its own that imports nothing of Slotcast. Models have roles
of their own here and no hash bins (docs/adr/0111), so that one of 2,000 is found as one alone is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from slotcast_publisher.trust.ceremonies import rotate_keys
from tests.support import stock_tuf_client
from tests.support.fleet import model_bytes
from tests.support.many_models import lay_beside

pytestmark = pytest.mark.usefixtures("quick_probes")

MODELS = 2_000
ROLES = ("root", "targets", "online", "release-clf", "root")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its parent has it
        """Say nothing of each request."""


class Published:
    """A repository, its first root, and what it publishes, served over HTTP."""

    def __init__(self, folder: Path) -> None:
        model = folder / "model.onnx"
        model.write_bytes(model_bytes(1))
        self.repo = Repository.init(folder / "repo", Settings(chunk_size_bytes=4096))
        self.root = folder / "root.json"
        self.root.write_bytes(self.repo.roles.root_bytes())
        request = ReleaseRequest(model="clf", version="1.0", files=(model,), is_probed=False)
        self.repo.build_release(request)
        self.web = folder / "web"

    def publish(self) -> list[str]:
        """Lay the notice out; gives the names of its targets."""
        notice = msgpack.unpackb(self.repo.offer("clf", "1.0"))
        for kind in ("metadata", "targets"):
            for name, data in notice[kind].items():
                path = self.web / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return sorted(notice["targets"])


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback interface; gives its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(published: Published, cache: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Have the stock client get targets, from the first root on."""
    for kind in ("metadata", "targets"):
        (cache / kind).mkdir(parents=True, exist_ok=True)
    script = Path(stock_tuf_client.__file__)
    with served(published.web) as url:
        command = [sys.executable, "-I", str(script), url, str(published.root), str(cache)]
        return subprocess.run([*command, *targets], capture_output=True, text=True, check=False)


def test_a_stock_client_gets_a_release_from_the_first_root_after_every_key_was_changed(
    published: Published, tmp_path: Path
) -> None:
    targets = published.publish()
    release = published.repo.store.folder("clf", "1.0").signed_bytes()
    assert ask(published, tmp_path / "device", *targets).returncode == 0
    for role in ROLES:
        rotate_keys(
            published.repo.roles,
            role,
            lambda name: published.repo.ring.generate(name, encrypted=False),
        )
    lay_beside(published.repo, "clf", MODELS - 1)
    targets = published.publish()
    for cache in (tmp_path / "device", tmp_path / "new device"):
        done = ask(published, cache, *targets)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(release).hexdigest() in done.stdout.split()


def test_a_stock_client_refuses_what_was_changed_and_what_nobody_signed(
    published: Published, tmp_path: Path
) -> None:
    (release,) = [name for name in published.publish() if name.endswith(".release")]
    path = published.web / "targets" / release
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = ask(published, tmp_path / "one", release)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    done = ask(published, tmp_path / "two", release.replace("1.0", "2.0"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody vouches" in done.stderr
