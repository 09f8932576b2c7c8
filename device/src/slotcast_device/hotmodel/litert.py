"""A LiteRT model with the methods of onnxruntime's `InferenceSession` that applications use.

So `HotModel` holds either kind, and a program calls `run` by names without knowing which it is.
An interpreter is for one thread at a time: callers that come together get one each, up to the
number of processors, and wait for one beyond that. Their weights are the same pages of the file.
Each run starts from the state that the model was loaded with, as a session's runs do.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slotcast_schemas.errors import ModelUnloadable

if TYPE_CHECKING:
    from slotcast_schemas.messages.release import Tensor
    from slotcast_schemas.probe.litert_session import LitertSession

INTERPRETERS_MAX: Final = 16
"""The most interpreters of one model, however many processors there are: each has activations of
its own."""


@dataclass(frozen=True, slots=True)
class NodeArg:
    """An input or output, as onnxruntime describes one."""

    name: str
    type: str
    shape: list[int | str | None]


class LitertModel:
    """One loaded model. Thread-safe.

    Args:
        path: the file, or what it holds.
        threads: within an operator, of each call; 0 is what LiteRT takes by itself, which is one.

    Raises:
        ModelUnloadable: LiteRT is not installed.
        Exception: whatever LiteRT says of a file that it cannot load.
    """

    def __init__(self, path: Path | bytes, threads: int = 0) -> None:
        self._path = path
        self._threads = threads
        first = self._open()
        self._inputs, self._outputs = first.inputs, first.outputs
        self._idle = [first]
        self._free = threading.Condition()
        self._may_open = min(INTERPRETERS_MAX, os.cpu_count() or 1) - 1

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[Any]:
        """Answer one request, as `InferenceSession.run` does.

        Args:
            output_names: the outputs asked for; None for all.
            input_feed: each input by its name.
            run_options: for onnxruntime; not looked at.

        Raises:
            ValueError: an output or an input that the model has not.
            Exception: whatever LiteRT says of these inputs.
        """
        del run_options
        names = [each.name for each in self._outputs]
        wanted = names if output_names is None else list(output_names)
        if strange := [name for name in wanted if name not in names]:
            raise ValueError(f"expected outputs of {names}, got {strange[0]!r}")
        with self._interpreter() as interpreter:
            found = interpreter.run(input_feed)
        return [found[name] for name in wanted]

    def get_inputs(self) -> list[NodeArg]:
        """Give what goes in."""
        return _node_args(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """Give what comes out."""
        return _node_args(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Give inputs that may be left out: LiteRT has none."""
        return []

    @contextlib.contextmanager
    def _interpreter(self) -> Iterator[LitertSession]:
        """An interpreter that nobody else is in, opened where that is allowed."""
        with self._free:
            while not self._idle and not self._may_open:
                self._free.wait()
            found = self._idle.pop() if self._idle else None
            if found is None:
                self._may_open -= 1
        try:
            taken = found or self._open()
        except BaseException:
            with self._free:
                self._may_open += 1
                self._free.notify()
            raise
        try:
            yield taken
        finally:
            with self._free:
                self._idle.append(taken)
                self._free.notify()

    def _open(self) -> LitertSession:
        try:
            from slotcast_schemas.probe.litert_session import LitertSession
        except ImportError as exc:
            raise ModelUnloadable(
                f"LiteRT is not installed here ({exc}): pip install 'slotcast-device[litert]'"
            ) from exc
        return LitertSession(self._path, self._threads)


def _node_args(tensors: Sequence[Tensor]) -> list[NodeArg]:
    return [NodeArg(each.name, each.dtype, list(each.shape)) for each in tensors]
