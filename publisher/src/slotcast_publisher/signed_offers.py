"""To whom a repository's releases go: offers made, signed, renewed and taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.durable import exclusive
from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.notice import (
    OfferWanted,
    build_notice,
    make_offer,
    present_offer,
    sign_offer,
)
from slotcast_publisher.offered_notices import OfferedNotices
from slotcast_publisher.settings import Settings
from slotcast_schemas.messages import Offer

LOCK_WAIT_S: Final = 3.0
"""The seconds to wait for the repository: `slotcast serve` holds it for the moment of a
signature."""


class SignedOffers(OfferedNotices):
    """Signs what is offered, one command at a time.

    Attributes:
        path: the repository's folder.
        settings: its settings.
    """

    path: Path
    settings: Settings

    @contextlib.contextmanager
    def locked(self, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Hold the repository against other commands.

        Raises:
            StateLocked: another command holds it, for longer than `wait_s`.
        """
        with exclusive(self.path / ".lock", str(self.path), wait_s=wait_s):
            yield

    def offer(self, model: str, version: str, wanted: OfferWanted | None = None) -> bytes:
        """Sign to whom a release goes, and give the notice that says so.

        Args:
            model: the model's name.
            version: which of its releases.
            wanted: to whom it goes and how; as before, or to everyone, unless given.

        Raises:
            NotFound: no such release, or it is not signed.
            Conflict: a higher sequence is offered already.
            KeyUnavailable: the online key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            now_s = self._signing_time_s()
            folder = self.store.folder(model, version)
            roles = self.roles.of(model)
            if roles.signed_release(model, version) is None:
                raise NotFound(
                    f"{model} {version} is not signed (any more): run `slotcast release` again"
                )
            present = self._counting_offer(model)
            told = self.settings.serve.told_topic
            offer = make_offer(folder, present, wanted or OfferWanted(), now_s, want_topic=told)
            return self._sign(offer)

    def sign(self, offer: Offer) -> bytes:
        """Sign an offer that was made as a whole, and give its notice; the caller holds `locked`.

        Raises:
            NotFound: its release is not here, or not signed.
            Conflict: a higher sequence is offered already.
            UsageError: it says what an offer cannot say.
            KeyUnavailable: the online key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        self.roles.signing_time()
        roles = self.roles.of(offer.model)
        if roles.signed_release(offer.model, offer.version) is None:
            raise NotFound(f"{offer.model} {offer.version} is not signed (any more)")
        present = self._counting_offer(offer.model)
        if present is not None and present.sequence > offer.sequence:
            raise Conflict(
                f"{offer.model}: {present.version} (sequence {present.sequence}) is offered, above"
                f" {offer.version} (sequence {offer.sequence})"
            )
        return self._sign(offer)

    def _sign(self, offer: Offer) -> bytes:
        folder, roles = self.store.folder(offer.model, offer.version), self.roles.of(offer.model)
        sign_offer(self.store, roles, offer)
        folder.set_fate("withdrawn" if offer.state == "canceled" else "offered")
        return build_notice(self.store, roles, offer.model)

    def finish_signing(self, model: str) -> None:
        """Have a model's notice carry what is signed already; the caller holds `locked`.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        self.roles.of(model).renew()

    def withdraw(self, model: str) -> bytes:
        """Cancel what is offered for a model, and give the notice that says so.

        Raises:
            NotFound: nothing is offered.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            now_s = self._signing_time_s()
            roles = self.roles.of(model)
            present = present_offer(self.store, roles, model)
            if present is None:
                raise NotFound(f"nothing is offered for {model!r}")
            if present.state != "canceled":
                canceled = msgspec.structs.replace(present, state="canceled", issued=int(now_s))
                sign_offer(self.store, roles, canceled)
                if not self.store.is_without_files(model, present.version):
                    self.store.folder(model, present.version).set_fate("withdrawn")
            return self._notice(model)

    def refresh(self, *, offline: bool = False) -> dict[str, bytes]:
        """Date every model's online roles again, and give its notice.

        Args:
            offline: date root, targets and release roles again too.

        Raises:
            KeyUnavailable: a key that is needed cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            self.roles.signing_time()
            if offline:
                self.roles.renew_offline()
            self.roles.renew(force=True)
            self.roles.prune()
            return {model: self.build_notice(model) for model in self.offered()}

    def _counting_offer(self, model: str) -> Offer | None:
        """Give what is offered for a model, unless its sequence counts no more."""
        present, word = self.present_offer(model), self.roles.of(model).floor_word(model)
        if present is None or word is None or word.counts(present.sequence):
            return present
        return None

    def _notice(self, model: str) -> bytes:
        roles = self.roles.of(model)
        roles.renew()
        return build_notice(self.store, roles, model)

    def _signing_time_s(self) -> float:
        return self.roles.signing_time().timestamp()
