"""Puts the page together: routes, who may use them, and what holds for every request.

How many connections there may be is decided by `server`, how long a request may take by `patience`.
"""

from __future__ import annotations

from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide

from slotcast_publisher.fleet.web import health, metrics, sign_in, static_files
from slotcast_publisher.fleet.web.addresses import PlainAddresses
from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.api.router import api_router, openapi_config
from slotcast_publisher.fleet.web.authentication import Authentication
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_publisher.fleet.web.csrf import CsrfProtection
from slotcast_publisher.fleet.web.error_answers import HANDLERS
from slotcast_publisher.fleet.web.event_stream import Live
from slotcast_publisher.fleet.web.guards import check_permission, check_routes
from slotcast_publisher.fleet.web.headers import add_headers
from slotcast_publisher.fleet.web.metrics import Exposition, FleetCollector
from slotcast_publisher.fleet.web.proxies import TrustedProxies
from slotcast_publisher.fleet.web.screens import all_screens
from slotcast_publisher.fleet.web.utf8_request import Utf8Request

BODY_MAX_BYTES: Final = 256 * 1024
"""The largest request that is read; a plan of a rollout is the largest that there is."""
_ROUTES: Final = (
    *static_files.ROUTES,
    *sign_in.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *all_screens.ROUTES,
)


def make_app(context: WebContext) -> Litestar:
    """Make the page.

    Args:
        context: what it works with.

    Raises:
        AssertionError: a route does not say who may use it.
    """
    door, screens = sign_in.Door(context), all_screens.make_screens(context)
    counting = Counting(context.database, context.now_s, context.clock)
    live = Live(context.database, counting)
    exposition = Exposition(FleetCollector(context, counting, live))
    app = Litestar(
        # One router for each: Litestar 2.25 runs a function twice that is registered beside another
        # of its path, once in a thread and once for what that gave.
        route_handlers=[Router(path="/", route_handlers=[*_ROUTES]), api_router()],
        dependencies={
            "context": Provide(lambda: context, sync_to_thread=False),
            "screens": Provide(lambda: screens, sync_to_thread=False),
            "door": Provide(lambda: door, sync_to_thread=False),
            "counting": Provide(lambda: counting, sync_to_thread=False),
            "live": Provide(lambda: live, sync_to_thread=False),
            "exposition": Provide(lambda: exposition, sync_to_thread=False),
        },
        guards=[check_permission],
        request_class=Utf8Request,
        middleware=[
            PlainAddresses(),
            TrustedProxies(context.settings),
            Authentication(context),
            CsrfProtection(context),
        ],
        before_send=[add_headers],
        exception_handlers=HANDLERS,
        request_max_body_size=BODY_MAX_BYTES,
        openapi_config=openapi_config(),
        include_in_schema=False,
        on_shutdown=[live.close],
        logging_config=None,
    )
    check_routes(app)
    return app
