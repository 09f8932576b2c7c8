"""The page as a process of its own, and viewers as another: parts of `page_viewers`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx

from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.web.listening import open_socket
from slotcast_publisher.fleet.web.running import open_page
from slotcast_publisher.repository import Repository


def serve(repo: Path) -> None:
    """Run the page on a free port until the process is ended; says where it is first."""
    with open_socket("127.0.0.1", 0) as opened, open_database(repo / FILE_NAME) as database:
        page = open_page(Repository(repo), database, opened)
        sys.stdout.write(json.dumps({"url": page.url}) + "\n")
        sys.stdout.flush()
        page.run()


async def watch(url: str, token: str, viewers: int) -> None:
    """Read so many streams of events until the process is ended; says when all have begun.

    Args:
        url: of the page.
        token: of scope `see`.
        viewers: how many streams.
    """
    headers = {"authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=None)
    begun = asyncio.Barrier(viewers + 1)
    async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits) as client:

        async def read() -> None:
            async with client.stream("GET", f"{url}/api/v1/events/stream") as response:
                response.raise_for_status()
                lines = response.aiter_lines()
                await anext(lines)
                await begun.wait()
                async for _ in lines:
                    pass

        tasks = [asyncio.create_task(read()) for _ in range(viewers)]
        await begun.wait()
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    if sys.argv[1] == "--watch":
        asyncio.run(watch(sys.argv[2], sys.stdin.readline().strip(), int(sys.argv[3])))
    else:
        serve(Path(sys.argv[1]))
