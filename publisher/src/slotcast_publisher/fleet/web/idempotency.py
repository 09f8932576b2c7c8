"""A change that is asked for twice is made once: what was answered is answered again.

Whoever sends a change with an `Idempotency-Key` may send it again when no answer came. The key is
claimed before the change, in a transaction of its own; where the process dies in between, the claim
ends after a minute, and the change is tried again with the same id, which whoever carries requests
out knows (`rollout.person`). Keys count for a day, each for who sent it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import MediaType, Request, Response
from litestar.concurrency import sync_to_thread
from litestar.exceptions import HTTPException
from litestar.params import HeaderParameter
from sqlalchemy import Connection, delete, insert, select, update

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.tables import idempotency
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.error_answers import Problem, problem_of
from slotcast_publisher.fleet.web.guards import who_asks
from slotcast_schemas.errors import SlotcastError, UsageError

KEPT_S: Final = 86_400
"""The seconds for which a key counts."""
CLAIM_S: Final = 60
"""The seconds after which a change that was not answered may be tried again."""

_CLAIMED: Final = 0
"""The status of a request that is being carried out: no answer has it."""
_NAMESPACE: Final = uuid.UUID("8a0bb8b1-5c3a-4f66-8f0e-6d1e8a7f9c11")

Key = Annotated[
    str,
    HeaderParameter(
        name="idempotency-key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Drawn by the client, such as a UUID: the same change sent again is made once.",
    ),
]
AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Once:
    """A change that is made once.

    Attributes:
        database: of the fleet.
        who: asks for it.
        key: as it was sent.
        digest: of what is asked for.
        now_s: seconds since 1970.
        is_secret: the answer holds a secret: it is not kept, and asking again is a conflict.
    """

    database: Database
    who: str
    key: str
    digest: bytes
    now_s: float
    is_secret: bool = False

    @property
    def request_id(self) -> str:
        """An id for what the change causes: the same each time it is tried."""
        return uuid.uuid5(_NAMESPACE, f"{self.who}\n{self.key}").hex

    async def answer(self, make: Callable[[], Awaitable[Any]], status: int) -> Response[Any]:
        """Make the change and answer, or give the answer that was given before.

        Args:
            make: makes the change, and gives what is answered.
            status: of HTTP, where that went well.

        Raises:
            Conflict: it is being made by another request at this moment.
            UsageError: the key was used for another change.
        """
        known = await sync_to_thread(self._claim)
        if known is not None:
            return known
        try:
            body, kind = msgspec.json.encode(await make()), str(MediaType.JSON.value)
        except (SlotcastError, HTTPException) as exc:
            problem = problem_of(exc)
            if problem.status >= 500:
                await sync_to_thread(self._let_go)
                raise
            body, kind, status = msgspec.json.encode(problem), _PROBLEM, problem.status
        except BaseException:
            await sync_to_thread(self._let_go)
            raise
        if self.is_secret and status < 400:
            problem = Problem(
                title="This was done",
                status=409,
                detail="this change was made; what it gave is secret, and was shown once",
            )
            await sync_to_thread(self._keep, 409, _PROBLEM, msgspec.json.encode(problem))
        else:
            await sync_to_thread(self._keep, status, kind, body)
        return Response(body, status_code=status, media_type=kind)

    # --- the table ------------------------------------------------------------------------------

    @property
    def _mine(self) -> Any:
        c = idempotency.c
        return (c.who == self.who) & (c.key == self.key)

    def _claim(self) -> Response[Any] | None:
        with self.database.transaction() as connection:
            self._forget(connection)
            row = connection.execute(select(idempotency).where(self._mine)).one_or_none()
            if row is None:
                claim = insert(idempotency).values(
                    who=self.who,
                    key=self.key,
                    request_sha256=self.digest,
                    status=_CLAIMED,
                    body=b"",
                    at_s=int(self.now_s),
                )
                connection.execute(claim)
                return None
            if bytes(row.request_sha256) != self.digest:
                raise UsageError("idempotency-key: it was used for another change; draw a new one")
            if row.status == _CLAIMED:
                self._take_over(connection, row.at_s)
                return None
        headers = msgspec.json.decode(row.headers, type=dict[str, str])
        kind = headers.pop("content-type", MediaType.JSON)
        return Response(
            bytes(row.body),
            status_code=row.status,
            media_type=kind,
            headers=headers | {"idempotency-replayed": "true"},
        )

    def _take_over(self, connection: Connection, at_s: int) -> None:
        if 0 <= self.now_s - at_s < CLAIM_S:
            raise Conflict("this change is being made: ask again in a moment")
        change = update(idempotency).where(self._mine)
        connection.execute(change.values(at_s=int(self.now_s)))

    def _forget(self, connection: Connection) -> None:
        c = idempotency.c
        connection.execute(delete(idempotency).where(c.at_s < self.now_s - KEPT_S))

    def _keep(self, status: int, kind: str, body: bytes) -> None:
        headers = msgspec.json.encode({"content-type": kind}).decode()
        with self.database.transaction() as connection:
            change = update(idempotency).where(self._mine)
            connection.execute(change.values(status=status, headers=headers, body=body))

    def _let_go(self) -> None:
        with self.database.transaction() as connection:
            still = self._mine & (idempotency.c.status == _CLAIMED)
            connection.execute(delete(idempotency).where(still))


_PROBLEM: Final = "application/problem+json"


def once(
    request: AnyRequest, context: WebContext, key: str, body: Any, *, is_secret: bool = False
) -> Once:
    """Give the change that a request asks for.

    Args:
        request: the request.
        context: of the page.
        key: as it was sent.
        body: what came with it, as it was validated.
        is_secret: the answer holds a secret.
    """
    who = who_asks(request)
    asked = [request.method, request.url.path, body]
    digest = hashlib.sha256(msgspec.json.encode(asked)).digest()
    asker = f"{who.how} {who.name}"
    return Once(context.database, asker, key, digest, context.now_s(), is_secret=is_secret)
