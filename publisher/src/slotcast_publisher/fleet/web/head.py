"""HEAD, which every address answers that GET answers (RFC 9110): what watches a page asks so."""

from __future__ import annotations

from typing import Any, Final

from litestar.types import ASGIApp, HTTPResponseBodyEvent, Message, Receive, Scope, Send

_NOTHING: Final[HTTPResponseBodyEvent] = {
    "type": "http.response.body",
    "body": b"",
    "more_body": False,
}


def head_as_get(app: ASGIApp) -> ASGIApp:
    """Give an application that answers HEAD with the head of its answer to GET.

    Args:
        app: what answers GET.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            """End with the head: a stream of events has no end of its own, and sees that one."""
            if message["type"] == "http.response.start":
                await send(message)
                await send(_NOTHING)

        asked: Any = {**scope, "method": "GET"}
        await app(asked, receive, send_head)

    return answer
