"""All routes of the API under one path, and its OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Response, Router, get
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server, Tag

from slotcast_publisher import __version__
from slotcast_publisher.fleet.web import event_stream
from slotcast_publisher.fleet.web.api import (
    access,
    devices,
    events,
    figures,
    models,
    notes,
    rollouts,
)
from slotcast_publisher.fleet.web.api.parts import AnyRequest
from slotcast_publisher.fleet.web.asked_devices import provide_asked
from slotcast_publisher.fleet.web.guards import PUBLIC
from slotcast_publisher.fleet.web.query_names import check_query

PATH: Final = "/api/v1"
_FRAMEWORKS: Final = "/api/openapi"
_MODULES: Final = (devices, figures, models, rollouts, events, notes, access, event_stream)
_TAGS: Final = {
    "fleet": "The whole fleet in numbers.",
    "devices": "Devices: lists by pages, one closely.",
    "models": "Models of repository and fleet.",
    "releases": "Releases, their payloads and what they do.",
    "rollouts": "Rollouts: where they stand, and what persons ask of them.",
    "groups": "Groups of rollouts.",
    "figures": "What releases do: latency, errors, memory.",
    "events": "What happened, and what happens.",
    "alarms": "What needs a person.",
    "notes": "What persons wrote beside devices and releases.",
    "access": "Users, tokens and the audit log.",
}


@get("/openapi.json", opt=PUBLIC, sync_to_thread=True, include_in_schema=False)
def _document(request: AnyRequest) -> Response[bytes]:
    """Give the OpenAPI document, which tells nothing that the software does not."""
    schema = request.app.openapi_schema.to_schema()
    return Response(msgspec.json.encode(schema), media_type="application/json")


def api_router() -> Router:
    """Give the routes of the API."""
    handlers: list[Any] = [route for module in _MODULES for route in module.ROUTES]
    handlers.append(_document)
    return Router(
        path=PATH,
        route_handlers=handlers,
        dependencies={"asked": Provide(provide_asked, sync_to_thread=False)},
        guards=[check_query],
        include_in_schema=True,
    )


def openapi_config() -> OpenAPIConfig:
    """Say how the OpenAPI document is made: from the types that validate."""
    return OpenAPIConfig(
        title="Slotcast",
        version=__version__,
        summary="A fleet of edge devices and the models on them.",
        use_handler_docstrings=True,
        # The framework answers everything below its own path; so the document is ours to give.
        openapi_router=Router(path=_FRAMEWORKS, route_handlers=[], opt=PUBLIC),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        servers=[Server(url="/")],
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="`slotcast tokens create`"
                )
            }
        ),
        security=[{"token": []}],
    )
