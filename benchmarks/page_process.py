"""The page as a process of its own, and viewers as another: parts of `page_viewers`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.web.child_main import NICENESS
from slotcast_publisher.fleet.web.listening import open_socket
from slotcast_publisher.fleet.web.running import open_page
from slotcast_publisher.repository import Repository


def serve(repo: Path, url: str | None) -> None:
    """Run the page as a child of `serve` does, until the process is ended; says where it is first.

    Args:
        repo: the repository's folder.
        url: of another database than its own.
    """
    os.nice(NICENESS)
    where = url or repo / FILE_NAME
    with open_socket("127.0.0.1", 0) as opened, open_database(where) as database:
        page = open_page(Repository(repo), database, opened)
        sys.stdout.write(json.dumps({"url": page.url}) + "\n")
        sys.stdout.flush()
        page.run()


async def watch(url: str, token: str, paths: Sequence[str]) -> None:
    """Read streams until the process is ended; says when each has begun.

    Args:
        url: of the page.
        token: of scope `see`.
        paths: of the streams, one for each viewer.
    """
    headers = {"authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=None)
    begun = asyncio.Barrier(len(paths) + 1)
    async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits) as client:

        async def read(path: str) -> None:
            async with client.stream("GET", f"{url}{path}") as response:
                response.raise_for_status()
                parts = response.aiter_bytes()
                await anext(parts)
                await begun.wait()
                async for _ in parts:
                    pass

        tasks = [asyncio.create_task(read(path)) for path in paths]
        await begun.wait()
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    if sys.argv[1] == "--watch":
        asked = json.loads(sys.stdin.readline())
        asyncio.run(watch(asked["url"], asked["token"], asked["paths"]))
    else:
        serve(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
