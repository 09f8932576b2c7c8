"""By which payloads a release travels and what they save, and where it runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from slotcast_publisher.fleet.database.kept_counts import RunningCount
from slotcast_publisher.fleet.web.plots.bars import BarPart, bar
from slotcast_publisher.fleet.web.screens.release_data import ReleaseScreenData
from slotcast_publisher.fleet.web.words import NONE, count_words, share_words, size_words


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A way to transfer the image.

    Attributes:
        base: the release that a device must hold; empty for any.
        bar: its part of the image.
        devices: that hold this base now.
        saves: all of them together, against whole images.
    """

    base: str
    codec: str
    size: str
    bar: Markup
    share: str
    devices: str
    href: str
    saves: str


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """A group, or a value of a tag, and how many of its devices run this release."""

    name: str
    runs: str
    of: str
    href: str
    bar: Markup


def devices_href(**fields: str) -> str:
    """Give where devices are listed, by the fields of a filter."""
    return f"/devices?{urlencode(fields)}"


def payload_rows(facts: ReleaseScreenData) -> tuple[tuple[PayloadRow, ...], int, int]:
    """Give a row for each payload, how many devices have one to come, and what that saves."""
    release = facts.release
    image = max(1, release.image_size_bytes)
    running = {each.version: each.devices for each in facts.versions if each.version}
    images = [each for each in facts.payloads if each.is_image]
    records = sorted(images, key=lambda each: each.payload.size_bytes)
    bases = {each.payload.base.version for each in records if each.payload.base is not None}
    others = sum(n for v, n in running.items() if v not in bases and v != release.version)
    others += sum(each.devices for each in facts.versions if not each.version)
    rows, total, saved, seen = [], 0, 0, set()
    for record in records:
        payload = record.payload
        base = "" if payload.base is None else payload.base.version
        # Of several for one base a device takes the smallest that it can read.
        is_counted = base not in seen and base != release.version
        seen.add(base)
        devices = (running.get(base, 0) if base else others) if is_counted else 0
        saves = devices * max(0, image - payload.size_bytes)
        total, saved = total + devices, saved + saves
        rows.append(
            PayloadRow(
                base=base,
                codec=payload.codec,
                size=size_words(payload.size_bytes),
                bar=_payload_bar(payload.size_bytes, image, is_full=not base),
                share=share_words(payload.size_bytes / image),
                devices=count_words(devices) if is_counted else NONE,
                href=devices_href(model=release.model, version=base) if base and devices else "",
                saves=size_words(saves) if saves else NONE,
            )
        )
    return tuple(rows), total, saved


def _payload_bar(size_bytes: int, image: int, *, is_full: bool) -> Markup:
    part = min(1000, max(1, round(1000 * size_bytes / image)))
    parts = [
        BarPart("of the image", part, "f-old" if is_full else "f-new"),
        BarPart("saved", 1000 - part, "f-none"),
    ]
    return bar(parts, 12, f"{size_words(size_bytes)} of {size_words(image)}")


def place_row(facts: ReleaseScreenData, place: RunningCount, field: str, value: str) -> PlaceRow:
    """Say how many devices of a place run the release.

    Args:
        facts: what is known of it.
        place: a group, or a value of a tag.
        field: of a filter of devices, that means this place.
        value: of that field.
    """
    release = facts.release
    runs = place.committed + place.trial
    parts = [
        BarPart("COMMITTED", place.committed, "f-new"),
        BarPart("TRIAL", place.trial, "#h-trial"),
        BarPart("run another", place.devices - runs, "f-none"),
    ]
    return PlaceRow(
        name=place.name,
        runs=count_words(runs),
        of=count_words(place.devices),
        href=devices_href(model=release.model, version=release.version, **{field: value}),
        bar=bar(parts, 12),
    )
