"""The page as a process of its own, started by `child`.

    python -m slotcast_publisher.fleet.web.child_main REPO SOCKET

SOCKET is the number of an open one. Says each event as a line of JSON on standard output, and ends
when standard input does: then whoever started it is gone.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.garbage import end_process, look_for_garbage_seldom

if TYPE_CHECKING:
    from slotcast_publisher.fleet.web.running import Page

NICENESS: Final = 5
"""How far it stands back for what listens to devices."""
_lock: Final = threading.Lock()


def say(event: str, **fields: Any) -> None:
    """Say an event to whoever started this process; nobody may be there to read it."""
    line = json.dumps({"event": event, **fields}, default=str) + "\n"
    with _lock:
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OSError:
            return  # the parent is gone; standard input says so, too


def main() -> int:
    """Run the page; gives 1, with the reason said, if it cannot be."""
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    os.nice(NICENESS)
    look_for_garbage_seldom()
    from slotcast_publisher.cli.serving import DATABASE_VARIABLE
    from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
    from slotcast_publisher.fleet.web.running import open_page
    from slotcast_publisher.repository import Repository
    from slotcast_publisher.serve.log import LibraryLines

    logging.getLogger().addHandler(LibraryLines(say))
    try:
        repo = Repository(path)
        database = open_database(os.environ.get(DATABASE_VARIABLE) or path / FILE_NAME)
        with database, socket.socket(fileno=number) as opened:
            page = open_page(repo, database, opened)
            say("page_listens", url=page.url)
            if page.unsafe is not None:
                say("page_unsafe", level="warning", detail=page.unsafe)
            if page.owners_link is not None:
                say("page_first_start", link=page.owners_link, counts_for="an hour, once")
            threading.Thread(target=_stop_at_end, args=(page,), name="parent", daemon=True).start()
            page.run()
    except SlotcastError as exc:
        say("error", level="error", reason=str(exc.reason), detail=f"page: {exc}")
        return 1
    return 0


def _stop_at_end(page: Page) -> None:
    """Wait for the end of standard input, and stop the page."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    page.stop()


if __name__ == "__main__":
    end_process(main())
