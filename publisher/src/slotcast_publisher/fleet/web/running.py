"""The page as it runs: its server, where it is, and the owner's link at a first start."""

from __future__ import annotations

import socket

from slotcast_publisher.fleet.access.audit import Actor
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.page_address import note_page_url
from slotcast_publisher.fleet.web.app import make_app
from slotcast_publisher.fleet.web.context import make_context
from slotcast_publisher.fleet.web.listening import unsafe_words, url_of
from slotcast_publisher.fleet.web.server import PageServer
from slotcast_publisher.repository import Repository


class Page:
    """A page that is ready to answer.

    Args:
        server: that answers.
        url: where.
        owners_link: by which the first user names themselves; None where there are users.
        unsafe: what is not safe about where it listens; None where nothing is.

    Attributes:
        url: where it is.
        owners_link: as above.
        unsafe: as above.
    """

    def __init__(
        self, server: PageServer, url: str, owners_link: str | None, unsafe: str | None = None
    ) -> None:
        self._server = server
        self.url = url
        self.owners_link = owners_link
        self.unsafe = unsafe

    def run(self) -> None:
        """Answer until `stop` is called, or a signal ends the process."""
        self._server.run()

    def stop(self) -> None:
        """Have `run` end soon; from any thread."""
        self._server.stop()

    def greeting(self) -> list[str]:
        """Say where it is, in lines for people."""
        lines = [f"the page: {self.url}"]
        if self.unsafe is not None:
            lines.append(f"warning: {self.unsafe}")
        if self.owners_link is not None:
            lines.append(f"become its owner within an hour: {self.owners_link}")
        return lines


def open_page(repo: Repository, database: Database, opened: socket.socket) -> Page:
    """Make a page ready.

    Args:
        repo: the repository.
        database: of its fleet, to be written to.
        opened: the socket that it listens at.
    """
    context = make_context(repo, database)
    here = url_of(opened)
    note_page_url(database, here)
    url = (repo.settings.page.url or here).rstrip("/")
    secret = context.users.make_owners_link(Actor("", "nobody"))
    link = None if secret is None else f"{url}/link/{secret}"
    unsafe = unsafe_words(opened, repo.settings.page)
    server = PageServer(make_app(context), opened, repo.settings.page.networks)
    return Page(server, url, link, unsafe)
