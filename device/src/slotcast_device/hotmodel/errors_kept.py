"""What is kept of an error: its words, and nothing of what was in memory when it was raised.

An exception holds the frames that it passed, and a frame all that it named: the session that did
not warm up, a caller's inputs. Who keeps the exception keeps those; and each `raise` of a kept one
adds the frames of one more caller.
"""

from __future__ import annotations

import copy
import traceback
from typing import TypeVar

from slotcast_schemas.errors import ModelFailed

E = TypeVar("E", bound=ModelFailed)


def words_of(error: E) -> E:
    """Give an error with the same words, to keep or to raise, that has passed no frame yet."""
    return copy.copy(error)


def forget_ended_calls(error: BaseException) -> None:
    """Have an error that is on its way forget what calls that have ended named.

    Where they were, line by line, can still be told.
    """
    traceback.clear_frames(error.__traceback__)
