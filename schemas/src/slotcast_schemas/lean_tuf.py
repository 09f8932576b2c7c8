"""python-tuf's client, imported without what its own fetcher needs.

`tuf.ngclient` imports a fetcher that speaks HTTP, and with it urllib3, http.client and email: 3 MB
of memory, and a tenth of an agent's start. Whoever verifies a notice hands in another fetcher.
TUF's own fetcher still works where somebody makes one, as sigstore does: its imports are made then.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, Final

from slotcast_schemas.later_import import imported_later

_PROXY: Final = "tuf.ngclient._internal.proxy"
"""The module in which the fetcher finds its way out, the first thing that it does."""


def _make_proxy_environment(**options: object) -> Any:
    return importlib.import_module(_PROXY).ProxyEnvironment(**options)


def _import_client() -> None:
    aside = ModuleType(_PROXY)
    vars(aside)["ProxyEnvironment"] = _make_proxy_environment
    sys.modules[_PROXY] = aside
    try:
        with imported_later("urllib3"):
            importlib.import_module("tuf.ngclient")
    finally:
        del sys.modules[_PROXY]


if "tuf.ngclient" not in sys.modules:
    _import_client()

from tuf.ngclient.config import UpdaterConfig  # noqa: E402 - after what is set aside for it
from tuf.ngclient.fetcher import FetcherInterface  # noqa: E402
from tuf.ngclient.updater import Updater  # noqa: E402

__all__ = ["FetcherInterface", "Updater", "UpdaterConfig"]
