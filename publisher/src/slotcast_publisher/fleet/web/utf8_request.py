"""A request whose body has to be UTF-8 where it says that it is JSON."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.exceptions import ClientException


class Utf8Request(Request[Any, Any, Any]):
    """A request of the framework, which takes bytes that are no text for a defect of ours."""

    async def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ClientException: it is no UTF-8.
        """
        try:
            return await super().json()
        except UnicodeDecodeError as exc:
            raise ClientException(
                f"expected JSON in UTF-8: {exc.reason} (byte {exc.start})"
            ) from exc
