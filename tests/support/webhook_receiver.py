"""A web server on this machine that takes what a webhook posts, and answers as it is told to.

with receiving() as receiver:
    receiver.answers = [500, 204]
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import WAIT_S


class Receiver:
    """What a server got, what it answers next, and what was logged."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = receiver.answers.pop(0) if receiver.answers else 204
                with receiver._changed:  # before the answer: who has it may look at once
                    receiver.got.append(
                        {"path": self.path, "headers": dict(self.headers), "body": body}
                    )
                    receiver._changed.notify_all()
                self.send_response(code)
                if 300 <= code < 400:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def say(self, event: str, **fields: Any) -> None:
        with self._changed:
            self.lines.append({"event": event, **fields})
            self._changed.notify_all()

    def wait_for(self, holds: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(holds()), WAIT_S), (self.got, self.lines)

    def bodies(self) -> list[bytes]:
        return [post["body"] for post in self.got]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve for the length of a block."""
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()
