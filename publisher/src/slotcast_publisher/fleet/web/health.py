"""Whether the page is there, and whether it can answer: for who watches processes."""

from __future__ import annotations

from typing import Final

from litestar import MediaType, Response, get
from sqlalchemy import select

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.guards import PUBLIC
from slotcast_schemas.errors import SlotcastError


@get("/healthz", opt=PUBLIC, sync_to_thread=False, media_type=MediaType.TEXT)
def _healthz() -> str:
    """Say that this process answers."""
    return "ok\n"


@get("/readyz", opt=PUBLIC, sync_to_thread=True, media_type=MediaType.TEXT)
def _readyz(context: Context) -> Response[str]:
    """Say whether the database can be read; why not is in the log, for everybody may ask this."""
    try:
        with context.database.reading() as connection:
            connection.execute(select(tables.meta.c.key).limit(1)).first()
    except SlotcastError:
        return Response("the database cannot be read\n", status_code=503)
    return Response("ready\n")


ROUTES: Final = [_healthz, _readyz]
"""What this module answers."""
