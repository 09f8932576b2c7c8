"""What a repository offers, and the notices that say so; nothing is signed or changed here."""

from __future__ import annotations

from slotcast_publisher.errors import NotFound
from slotcast_publisher.notice import assemble, build_notice, present_offer, prove_notice
from slotcast_publisher.store import ReleaseFolder, Store
from slotcast_publisher.trust.notice_proof import VerifiedNotice
from slotcast_publisher.trust.repository_roles import RepositoryRoles
from slotcast_schemas.messages import Offer


class OfferedNotices:
    """Reads what is offered.

    Attributes:
        store: where models, releases and offers lie.
        roles: what is signed of them.
    """

    store: Store
    roles: RepositoryRoles

    def is_half_signed(self, model: str) -> bool:
        """Say whether whoever signed a model's offer was stopped before notices could carry it."""
        roles = self.roles.of(model)
        return roles.signed_offer(model) != roles.announced_offer(model)

    def build_notice(self, model: str) -> bytes:
        """Give a model's notice as the signed snapshot stands for it, proven with a TUF client.

        Raises:
            NotFound: nothing is offered.
            RefusedRelease: it would not be believed, for the reason that it gives.
        """
        return build_notice(self.store, self.roles.of(model), model)

    def prove_notice(self, model: str) -> tuple[bytes, VerifiedNotice]:
        """Give a model's notice, as `build_notice` does, and what it says.

        Raises:
            NotFound: nothing is offered.
            RefusedRelease: it would not be believed, for the reason that it gives.
        """
        return prove_notice(self.store, self.roles.of(model), model)

    def notice_bytes(self, model: str) -> bytes:
        """Give a model's notice as the signed snapshot stands for it, believable or not.

        Raises:
            NotFound: nothing is offered.
        """
        return assemble(self.store, self.roles.of(model), model)

    def present_offer(self, model: str) -> Offer | None:
        """Give what is offered for a model, or None."""
        return present_offer(self.store, self.roles.of(model), model)

    def offered(self) -> list[str]:
        """Name the models for which something is offered."""
        return [m for m in self.store.models() if self.roles.of(m).signed_offer(m) is not None]

    def offered_folder(self, model: str) -> ReleaseFolder:
        """Give the release that is offered for a model.

        Raises:
            NotFound: nothing is.
        """
        present = self.present_offer(model)
        if present is None:
            raise NotFound(f"nothing is offered for {model!r}")
        return self.store.folder(model, present.version)
