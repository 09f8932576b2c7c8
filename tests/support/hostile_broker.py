"""A broker that lies, in every packet type of MQTT, by a plan that is drawn from a seed.

    content = retained_of(broker.url, prefix)              # what an honest broker keeps
    with HostileBroker(content, plan=("publish_qos_2",), lies_for_s=5) as hostile:
        ...                                                # a device connects to hostile.url
    hostile.connections, hostile.was_left, hostile.sent_bytes

Between its lies it answers as a broker does, and gives what it was told is the truth: what devices
ask for, they do not get from a broker that says nothing. It lies for a while, then it is gone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from tests.support.hostile_lies import LIES
from tests.support.hostile_victim import HONEST_S, Over, Victim

_LIES_MAX: Final = 4
"""The most lies of a plan that is drawn."""


class HostileBroker:
    """Listens, and lies to whoever connects.

    Args:
        content: messages by topic, as an honest broker keeps them.
        plan: the lies, one for each connection, again and again.
        seed: of what is drawn within them.
        lies_for_s: after which it is gone, from the first connection on.

    Attributes:
        connections: how many there were.
        sent_bytes: over all of them.
        was_left: how many of them the device ended.
    """

    def __init__(
        self,
        content: Mapping[str, bytes],
        plan: Sequence[str],
        seed: int = 1,
        lies_for_s: float = 10.0,
    ) -> None:
        self.connections = self.sent_bytes = self.was_left = 0
        self.errors: list[BaseException] = []
        self._content = content
        self._plan = itertools.cycle(plan)
        self._rng = random.Random(seed)
        self._lies_for_s = lies_for_s
        self._until_s = math.inf
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="hostile broker")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._port = int(self._listener.getsockname()[1])
        self._listener.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until_s = 0.0
        self._thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        with self._listener:
            while time.monotonic() < self._until_s:
                with contextlib.suppress(TimeoutError):
                    sock, _ = self._listener.accept()
                    if not self.connections:
                        self._until_s = time.monotonic() + self._lies_for_s
                    self.connections += 1
                    with sock:
                        self._lie_to(sock)

    def _lie_to(self, sock: socket.socket) -> None:
        """Tell one connection's lie; the device connects to one broker at a time."""
        victim = Victim(sock, self._content, self._rng, self._until_s)
        name = next(self._plan)
        try:
            with contextlib.suppress(Over):
                victim.wait_open()
                LIES[name](victim)
                victim.serve(HONEST_S)
        except BaseException as exc:
            self.errors.append(exc)
            raise
        finally:
            self.sent_bytes += victim.sent_bytes
            self.was_left += victim.was_left


def drawn_plan(seed: int) -> tuple[str, ...]:
    """Give the lies of a seed; seeds in a row have every lie among them."""
    rng = random.Random(seed)
    names = sorted(LIES)
    return (names[seed % len(names)], *rng.choices(names, k=rng.randrange(_LIES_MAX)))
