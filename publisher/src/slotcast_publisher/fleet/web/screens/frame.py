"""What stands around every screen: where one is, who one is, and in which zone the times are."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from markupsafe import Markup

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.web.screens.rendering import USER_MARK, csrf_field
from slotcast_publisher.fleet.web.words import Clock


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """An entry of the navigation."""

    name: str
    href: str
    is_here: bool


_PLACES = (("Fleet", "/"), ("Devices", "/devices"), ("Rollouts", "/rollouts"))
_RELEASES = ("Releases", "/releases")
_ACCESS = ("Access", "/users")


@dataclass(frozen=True, slots=True)
class Frame:
    """What the base template shows.

    Attributes:
        title: of the window.
        icon: of the window.
        places: of the navigation.
        clock: when the page is made, and the zone of its reader.
        live: the address that says what has changed; empty for a screen that stands still.
        role: of the person; empty for a program.
        can_sign_out: whether there is a session to end.
        foot: what else there is to know, a text each.
        user: a mark in the place of the name.
        csrf: the form field with a mark in the place of the token.
    """

    title: str
    icon: str
    places: tuple[NavigationEntry, ...]
    clock: Clock
    live: str
    role: str
    can_sign_out: bool
    foot: tuple[str, ...]
    user: str = USER_MARK
    csrf: Markup = field(default_factory=csrf_field)


def places(here: str, may: AbstractSet[Permission]) -> tuple[NavigationEntry, ...]:
    """Give the navigation, of what the viewer may see.

    Args:
        here: the address of the entry that is current.
        may: what the viewer may do.
    """
    admins = (_ACCESS,) if Permission.ADMINISTER in may else ()
    return tuple(
        NavigationEntry(name, href, href == here) for name, href in (*_PLACES, _RELEASES, *admins)
    )
