"""Carries what a repository has signed to its brokers: chunks, then maps, then the notice.

Decides what goes to which brokers, and what a failure of one means for the others; one broker is
the matter of `broker_delivery`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from slotcast_publisher.delivery.broker_delivery import BrokerDelivery, Delivery, Pushed, ReadBack
from slotcast_publisher.delivery.push import PushTally
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.delivery.removal import Tidied
from slotcast_publisher.errors import PublisherBehind
from slotcast_publisher.notice import OfferWanted, offer_in
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_publisher.trust.adoption import Adopted
from slotcast_schemas.errors import BrokerRefused, LinkDown, SlotcastError, UsageError

Progress = Callable[[str, PushTally], None]
"""Told the broker's name, and what was done so far."""


def brokers_of(repo: Repository, urls: Sequence[str] = ()) -> list[Broker]:
    """Give the brokers to push to: those named, with the settings' certificates, or all.

    Raises:
        UsageError: none is named, here or in the settings.
    """
    known = {broker.address.name: broker for broker in repo.settings.brokers}
    if urls:
        return [
            msgspec.structs.replace(known.get(given.address.name, given), url=given.url)
            for given in (Broker(url=url) for url in urls)
        ]
    if not known:
        raise UsageError(
            "no broker: give --broker URL, or write [[brokers]] into the repository's slotcast.toml"
        )
    return list(repo.settings.brokers)


class BrokerFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why one broker was not brought up to date."""

    broker: str
    reason: str
    detail: str


@dataclass(slots=True)
class PublishOutcome:
    """What became of each broker; one that fails does not keep the others from being served."""

    done: list[Pushed] = field(default_factory=list)
    failed: list[BrokerFailure] = field(default_factory=list)
    error: SlotcastError | None = None
    """The first that happened."""

    def note_failed(self, broker: str, error: SlotcastError) -> None:
        """Take down that a broker failed."""
        self.failed.append(BrokerFailure(broker=broker, reason=error.reason, detail=str(error)))
        self.error = self.error or error

    def all_done(self) -> list[Pushed]:
        """Give what was done, if all was.

        Raises:
            SlotcastError: the first that happened.
        """
        if self.error is not None:
            raise self.error
        return self.done


@dataclass(frozen=True, slots=True)
class How:
    """How brokers are served.

    Attributes:
        brokers: URLs, instead of those in the settings.
        send_all: send also what the brokers have acknowledged before.
        read_back: how much is read back before it is believed.
        purge: afterwards, take payloads that no offer uses off the brokers, without the grace.
        waits: for what is read back, and between two connections.
        progress: told after each acknowledgement.
    """

    brokers: Sequence[str] = ()
    send_all: bool = False
    read_back: ReadBack = "all"
    purge: bool = False
    waits: ReadbackWaits = field(default_factory=ReadbackWaits)
    progress: Progress = lambda _name, _tally: None


_AS_USUAL: Final = How()


def publish(
    repo: Repository,
    model: str,
    version: str,
    wanted: OfferWanted | None = None,
    how: How = _AS_USUAL,
) -> PublishOutcome:
    """Offer a release, and push it to every broker; run again, only what is missing is sent.

    Args:
        repo: the repository.
        model: which model.
        version: which of its releases.
        wanted: to whom; as before, or everyone.
        how: how the brokers are served.

    Raises:
        PublisherBehind: a broker has a newer notice; nothing was signed.
        SlotcastError: what keeps an offer from being made.
    """
    chosen = brokers_of(repo, how.brokers)
    _check_not_behind(repo, chosen, [model], how)
    notice = repo.offer(model, version, wanted)
    return push_notice(repo, model, notice, chosen, how)


def withdraw(repo: Repository, model: str, how: How = _AS_USUAL) -> PublishOutcome:
    """Cancel what is offered for a model; with `purge`, take its chunks off the brokers.

    Args:
        repo: the repository.
        model: which model.
        how: how the brokers are served.

    Raises:
        PublisherBehind: a broker has a newer notice; nothing was signed.
        NotFound: nothing is offered.
    """
    chosen = brokers_of(repo, how.brokers)
    _check_not_behind(repo, chosen, [model], how)
    notice = repo.withdraw(model)
    return push_notice(repo, model, notice, chosen, how, payloads=False)


def refresh(
    repo: Repository, how: How = _AS_USUAL, *, offline: bool = False
) -> dict[str, PublishOutcome]:
    """Date the signatures again, and send every model's notice.

    Args:
        repo: the repository.
        how: how the brokers are served.
        offline: date root, targets and release roles again too, with their own keys.

    Raises:
        PublisherBehind: a broker has a newer notice; nothing was signed.
        KeyUnavailable: a key that is needed cannot be used from here.
    """
    chosen = brokers_of(repo, how.brokers)
    _check_not_behind(repo, chosen, repo.offered(), how)
    return {
        model: push_notice(repo, model, notice, chosen, how, payloads=False)
        for model, notice in repo.refresh(offline=offline).items()
    }


def adopt(repo: Repository, how: How = _AS_USUAL) -> list[Adopted]:
    """Take over what another copy of this repository published to the brokers, and is lost.

    Raises:
        LinkDown, BrokerRefused: a broker cannot be asked.
        Conflict: both copies signed another root.
        KeyUnavailable: a key that is needed cannot be used from here.
    """
    done: dict[str, Adopted] = {}
    for broker in brokers_of(repo, how.brokers):
        with BrokerDelivery(repo, broker, how.waits) as target:
            notices = target.notices()
        done |= {item.model: item for item in repo.adopt(notices)}
    return list(done.values())


def push_notice(
    repo: Repository,
    model: str,
    notice: bytes,
    brokers: Sequence[Broker],
    how: How = _AS_USUAL,
    *,
    payloads: bool = True,
) -> PublishOutcome:
    """Push a notice, after the payloads that it offers, to each of the brokers.

    Args:
        repo: the repository.
        model: which model.
        notice: the notice's bytes.
        brokers: the brokers to push it to.
        how: how the brokers are served.
        payloads: whether to send what it offers before it.
    """
    outcome = PublishOutcome()
    delivery = Delivery(
        model=model,
        notice=notice,
        payloads=offer_in(notice, model).payloads if payloads else (),
        folder=repo.offered_folder(model) if payloads else None,
        send_all=how.send_all,
        read_back=how.read_back,
    )
    for broker in brokers:
        name = broker.address.name
        try:
            with BrokerDelivery(repo, broker, how.waits) as target:
                before = _tidy(target, how, model)  # makes room
                done = target.deliver(delivery, functools.partial(how.progress, name))
                stock = _tidy(target, how, model).with_removed(before)
                done = msgspec.structs.replace(done, stock=stock, purged=stock.removed_payloads)
        except (LinkDown, BrokerRefused, PublisherBehind) as exc:
            outcome.note_failed(name, exc)
        else:
            outcome.done.append(done)
    return outcome


def _tidy(target: BrokerDelivery, how: How, model: str) -> Tidied:
    """Take off what is due; only where that was asked for is a failure one of the command."""
    if how.purge:
        return target.tidy(grace_s=0.0, looks=True)
    try:
        return target.tidy(model=model)
    except (LinkDown, BrokerRefused):
        return Tidied()


def _check_not_behind(
    repo: Repository, brokers: Sequence[Broker], models: Sequence[str], how: How
) -> None:
    """Look at the notices of all brokers that answer, before anything is signed.

    One that cannot be asked now is asked again before its notice is sent.

    Raises:
        PublisherBehind: a broker has a newer notice.
    """
    if how.read_back == "none":
        return
    for broker in brokers:
        with (
            contextlib.suppress(LinkDown, BrokerRefused),
            BrokerDelivery(repo, broker, how.waits) as target,
        ):
            for model in models:
                target.check_not_behind(model)
