"""What every route of the API uses: what it works with, and what is shared between viewers."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import PathParameter

from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.asked_devices import AskedDevices

AnyRequest = Request[Any, Any, Any]
Asked = NamedDependency[AskedDevices]
"""How a route asks for the devices that an address names: a parameter `asked: Asked`."""
Shared = NamedDependency[Counting]
"""How a route asks for what viewers share: a parameter `counting: Shared`."""
Name = Annotated[str, PathParameter(min_length=1, max_length=128)]
"""A name in a path."""
ModelName = Annotated[str, PathParameter(min_length=1, max_length=128)]
"""A model in a path."""
Version = Annotated[str, PathParameter(min_length=1, max_length=128)]
"""A version in a path."""
