"""Opens a model with what runs its format; imports only the runtimes that it needs.

A runtime takes memory of its own with its first model, which must not be booked to the candidate:
`wake` has it taken before.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from slotcast_schemas.model_formats import LITERT, ONNX
from slotcast_schemas.probe.owner_command import CannotStart, CommandModel
from slotcast_schemas.probe.runtime import LoadedModel
from slotcast_schemas.probe.spec import SlotModel

_NEG_MODEL: Final = bytes.fromhex(
    "080712003a320a0b0a017812017922034e65671201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a00100d"
)
"""An ONNX model of one node, y = -x: what the first session of a process takes is 10 MB with
onnxruntime 1.31."""


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """What the files of a model hold.

    Attributes:
        entry: of the one that the runtime is given.
        beside: of the others, by their paths from its folder.
    """

    entry: bytes
    beside: Mapping[str, bytes]

    @classmethod
    def read(cls, entry: str, names: Iterable[str], read: Callable[[str], bytes]) -> Self:
        """Read them.

        Args:
            entry: path of the one that the runtime is given.
            names: paths of all of them.
            read: gives what the file of a path holds.
        """
        folder = posixpath.dirname(entry)
        beside = {
            posixpath.relpath(name, folder or "."): read(name) for name in names if name != entry
        }
        return cls(read(entry), beside)


def read_model(which: SlotModel, samples: str | None) -> ModelBytes | None:
    """Read a model that is in memory; None where its runtime reads it by a path.

    A path is better: given bytes, a runtime would hold the model twice more. A model on the disk
    has one, and so has one of a single file in memory. But not one that was prepared for a runtime,
    which tells such files by their names: in memory they have none.

    Args:
        which: where it is.
        samples: path of the release's samples, which no runtime reads.

    Raises:
        OSError: a file is missing, or cannot be read.
    """
    if not which.memory:
        return None
    names = [name for name in which.memory if name != samples]
    if names == [which.entry] and not which.is_compiled:
        return None
    return ModelBytes.read(which.entry, names, which.read_file)


def open_model(
    which: SlotModel,
    *,
    providers: Sequence[str] = (),
    threads: int = 0,
    samples: Path | None = None,
    content: ModelBytes | None = None,
) -> LoadedModel:
    """Load a model.

    Args:
        which: where it is, and of which format.
        providers: onnxruntime's execution providers; none means the CPU.
        threads: within an operator; 0 is as many as the runtime takes.
        samples: the release's samples file, for a command, which reads them itself.
        content: what its files hold, of one that is in memory (`read_model`).

    Raises:
        CannotStart: what runs this format is not there.
        Exception: whatever the runtime says of a file that it cannot load.
    """
    if which.command:
        return CommandModel(which, samples, threads)
    if which.format == ONNX:
        from slotcast_schemas.probe.onnx_session import OnnxSession

        if content is not None:
            return OnnxSession(content.entry, providers, threads, files=content.beside)
        return OnnxSession(which.path, providers, threads)
    if which.format == LITERT:
        try:
            from slotcast_schemas.probe.litert_session import LitertSession
        except ImportError as exc:
            raise CannotStart(f"LiteRT cannot be imported ({exc}): the extra [litert]") from exc
        return LitertSession(which.path if content is None else content.entry, threads)
    raise CannotStart(f"nothing here runs models of format {which.format!r}")


def wake(formats: Iterable[str]) -> None:
    """Have the runtimes of these formats take what they take for themselves."""
    if ONNX in formats:
        from slotcast_schemas.probe.onnx_session import OnnxSession

        OnnxSession(_NEG_MODEL, threads=1).run({"x": np.zeros(1, np.float32)})
    if LITERT in formats:
        import contextlib

        with contextlib.suppress(ImportError):  # said when the model is opened
            import slotcast_schemas.probe.litert_session  # noqa: F401
