"""All screens, as the page has them."""

from __future__ import annotations

from typing import Final

from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.screens import (
    access_screens,
    audit_screen,
    device_screen,
    devices_screen,
    fleet_screen,
    release_screen,
    releases_screen,
    rollout_screen,
)
from slotcast_publisher.fleet.web.screens.watched_screens import Screens

_MODULES: Final = (
    fleet_screen,
    devices_screen,
    device_screen,
    rollout_screen,
    releases_screen,
    release_screen,
    access_screens,
    audit_screen,
)
ROUTES: Final = [route for module in _MODULES for route in module.ROUTES]
"""The routes of all screens."""


def make_screens(context: WebContext) -> Screens:
    """Make the screens of a page.

    Args:
        context: what there is to look at.
    """
    makers = {name: make for module in _MODULES for name, make in module.MAKERS.items()}
    return Screens(context, makers)
