"""What a package imports and hardly anybody asks of it: imported when it is asked something.

Some packages import at once what few of their users need, and a small device pays for it with
memory and with the time of its start. While such a package is imported, a stand-in takes the place
of the module. It has nothing of its own: whatever is asked of it is answered by the real module,
which is imported then. So nothing is missing, also for who uses the package in another way.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def imported_later(*names: str) -> Iterator[None]:
    """Have a stand-in for each of these modules, unless it is imported already.

    Args:
        names: of modules, whole: `urllib.request`. Whoever imports a name from such a module, and
            not the module, imports the real one at once.
    """
    aside = {name: _stand_in(name) for name in names if name not in sys.modules}
    sys.modules.update(aside)
    try:
        yield
    finally:
        for name, module in aside.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
            _put_into_package(name, module)


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)

    def answer(asked: str) -> object:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), asked)

    vars(module)["__getattr__"] = answer
    return module


def _put_into_package(name: str, module: ModuleType) -> None:
    """Let `package.module` be found, as after any import; the real one's puts itself there."""
    package, _, own_name = name.rpartition(".")
    if package in sys.modules:
        vars(sys.modules[package]).setdefault(own_name, module)
