"""Keeps the catalog in step with the repository, and the signatures young, at the cost of changes.

Each look reads only the models that were signed for since the one before (`changes`), those whose
notice has come to its end, and a few of those with which something was wrong. Signatures that are
due are renewed a bounded number at a time, so that 2,000 models that were dated on one day do not
all hold the repository's lock, and the brokers' lines, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.catalog import Announcement, Catalog, Stored, look_at
from slotcast_publisher.serve.changes import Changes
from slotcast_schemas.errors import SlotcastError

RENEWED_AT_ONCE: Final = 50
"""The most sets of roles that are renewed in one look: some two hundred signatures."""

TRIED_AGAIN_MAX: Final = 20
"""The most models, of those with which something is wrong, that are looked at again in one look."""


class KeptCatalog:
    """What a repository offers, as of the last look.

    Args:
        repo: the repository.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._changes = Changes(repo.roles)
        self._announcements: dict[str, Announcement] = {}
        self._stored: dict[str, dict[bytes, Stored]] = {}
        self._due: dict[str, datetime] = {}
        self._problems: dict[str, SlotcastError] = {}
        self.catalog = Catalog({}, {})

    @property
    def problems(self) -> Mapping[str, SlotcastError]:
        """What is wrong, by the models that are offered and cannot be announced."""
        return self._problems

    def look(self) -> set[str]:
        """Take in what changed; names the models whose announcements are other ones now.

        Raises:
            SlotcastError: the repository cannot be looked at at all.
        """
        now_s = self._repo.now_s()
        names = self._changes.take()
        names |= {m for m, a in self._announcements.items() if a.expires_s <= now_s}
        names |= set(islice(self._problems, TRIED_AGAIN_MAX))
        changed = {model for model in sorted(names) if self._look_at(model)}
        if changed:
            payloads = {k: v for stored in self._stored.values() for k, v in stored.items()}
            self.catalog = Catalog(dict(self._announcements), payloads)
        return changed

    def _look_at(self, model: str) -> bool:
        """Look at one model; says whether its announcement is another one now."""
        before = self._announcements.pop(model, None)
        self._problems.pop(model, None)  # where it is still wrong, others have their turn first
        self._stored.pop(model, None)
        self._due.pop(model, None)
        try:
            roles = self._repo.roles.of(model)
            if roles.is_announced():
                self._due[model] = roles.renewal_due()
            if roles.announced_offer(model) is not None:
                found, self._stored[model] = look_at(self._repo, model)
                self._announcements[model] = found
        except SlotcastError as exc:
            self._problems[model] = exc
        return self._announcements.get(model) != before

    # --- signatures -----------------------------------------------------------------------------

    def are_due(self) -> bool:
        """Say whether any signatures are past half of their life."""
        return next(self._models_due(), None) is not None

    def renew(self) -> datetime:
        """Sign anew the first of what is due; says when the first of that ends.

        The repository must be held, and something due.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        ends = []
        models = sorted(self._models_due(), key=lambda model: self._due[model])
        sets = dict.fromkeys(self._repo.roles.of(model) for model in models)
        for roles in islice(sets, RENEWED_AT_ONCE):
            roles.renew()
            roles.prune()
            ends.append(roles.expires("timestamp"))
        return min(ends)

    def _models_due(self) -> Iterator[str]:
        now = datetime.fromtimestamp(self._repo.now_s(), UTC)
        return (model for model, due in self._due.items() if due < now)
