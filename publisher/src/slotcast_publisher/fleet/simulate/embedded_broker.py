"""An MQTT broker for demonstrations: amqtt, on a free port of the loopback.

amqtt speaks MQTT 3.1.1 and keeps nothing on disk, which is all that a demonstration wants; fleets
use Mosquitto or another broker. Nothing of Slotcast knows which broker it talks to.

It runs in a thread of this process, or, where that has much else to do, in a process of its own:
`python -m slotcast_publisher.fleet.simulate.embedded_broker`, which prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Self

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.session import Session

from slotcast_schemas.errors import LinkDown

_TIMEOUT_S = 10.0
"""The seconds within which the broker must have started, or stopped."""


class _Broker(Broker):  # type: ignore[misc] # amqtt ships no types
    """amqtt, with three defects of 0.12 worked around.

    Two of them send a client what it did not ask for. To a client that connects, it sends what is
    retained under the subscriptions of *all* clients. And it finds a client's connection by the
    client's id alone: where that broke in the middle of retained messages, and the client came
    back, the rest of them go to its new connection.
    Devices take no harm, but act 2 then costs 3.0 times the payload's bytes instead of 1.03.

    The third loses messages: it confirms a message when it is in the session's queue, and drops
    that queue when the client disconnects. From Python 3.12 on, where its reader takes packets
    without a pause between them, a publisher that hangs up at once loses its last messages, the
    notice among them.
    """

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.transport.abort()  # amqtt leaves vanished clients to the garbage collector

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        holders = self.subscriptions.get(subscription[0], [])
        if any(holder.client_id == session.client_id for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _handle_disconnect(
        self, client_session: Session, handler: Any, disconnect_waiter: asyncio.Future[Any]
    ) -> None:
        # All in one go: at a pause, the client's own loop would take some of them and drop them.
        for message in _take_all(client_session.delivered_message_queue):
            confirmed: asyncio.Future[Any] = asyncio.Future()
            confirmed.set_result(message)
            await self._handle_message_delivery(client_session, handler, confirmed)
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)

    def _get_handler(self, session: Session) -> Any:
        known, handler = self.sessions.get(session.client_id, (None, None))
        return handler if known is session else None


class EmbeddedBroker:
    """A broker for as long as the `with` block lasts.

    Attributes:
        port: where it listens.
    """

    def __init__(self) -> None:
        self.port = _free_port()
        self._loop = asyncio.new_event_loop()
        self._broker: _Broker | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)

    @property
    def url(self) -> str:
        """Its address, as `--broker` takes it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        # Clients that vanish are what is shown here; its warnings about them say nothing new.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._thread.start()
        self._run(self._start()).result(_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._stop()).result(_TIMEOUT_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT_S)
            self._loop.close()

    def _run(self, work: object) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type] # untyped

    async def _start(self) -> None:
        config = BrokerConfig(
            listeners={"default": ListenerConfig(bind=f"127.0.0.1:{self.port}")},
            plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        )
        self._broker = _Broker(config)
        await self._broker.start()

    async def _stop(self) -> None:
        if self._broker is not None:
            await self._broker.shutdown()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close in the loop's next turn


@contextlib.contextmanager
def broker_process() -> Iterator[str]:
    """Run a broker in a process of its own for as long as the block lasts; gives its address.

    Raises:
        LinkDown: it did not begin.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; it ends when we close its input
    )
    try:
        line = b"" if process.stdout is None else process.stdout.readline()
        if not line.strip().isdigit():
            raise LinkDown("the demonstration's broker did not begin; its error is above")
        yield f"mqtt://127.0.0.1:{int(line)}"
    finally:
        process.communicate()


def _take_all(messages: asyncio.Queue[Any]) -> list[Any]:
    """Take everything out of a queue, without a pause."""
    return [messages.get_nowait() for _ in range(messages.qsize())]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _main() -> None:
    """Run until the input is closed, so that the broker ends with whoever began it."""
    with EmbeddedBroker() as broker:
        sys.stdout.write(f"{broker.port}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    _main()
