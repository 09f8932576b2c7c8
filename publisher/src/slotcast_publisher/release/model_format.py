"""Which kind of model a release holds, and which of its files the device's runtime opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from slotcast_schemas.errors import ModelUnloadable, UsageError
from slotcast_schemas.messages.release import Runtime
from slotcast_schemas.model_formats import (
    COMPILED_FEATURE,
    FEATURE,
    GGUF,
    ONNX,
    SUFFIXES,
    check_format,
    is_run_by_command,
)
from slotcast_schemas.probe.scan import is_prepared

_GGUF_MAGIC: Final = b"GGUF"
_PREPARED_SUFFIX: Final = ".ort"


def choose_entry(
    wanted_format: str | None, wanted: str | None, files: Mapping[str, Path]
) -> tuple[str, str]:
    """Choose the model's format, and the file of the release that is the model.

    Args:
        wanted_format: what was asked for; None goes by the files' names.
        wanted: the file that was asked for; None takes the only one that can be meant.
        files: all files, by their names in the release.

    Raises:
        UsageError: no such format or file, or several files that could be meant.
    """
    if wanted is not None and wanted not in files:
        raise UsageError(f"--entry: expected one of {sorted(files)}, got {wanted!r}")
    model_format = _format(wanted_format, [wanted] if wanted is not None else list(files))
    return model_format, wanted if wanted is not None else _entry(model_format, files)


def _format(wanted: str | None, names: Iterable[str]) -> str:
    if wanted is not None:
        return check_format(wanted)
    found = {
        model_format
        for model_format, suffixes in SUFFIXES.items()
        if any(name.endswith(suffixes) for name in names)
    }
    # Where there are several, ONNX is what there was before there were formats.
    return found.pop() if len(found) == 1 else ONNX


def _entry(model_format: str, files: Mapping[str, Path]) -> str:
    suffixes = SUFFIXES.get(model_format)
    if suffixes is None:
        if len(files) != 1:
            raise UsageError(
                f"expected one file, or --entry to say which is the model; got {sorted(files)}"
            )
        return next(iter(files))
    for suffix in suffixes:
        models = sorted(name for name in files if name.endswith(suffix))
        if len(models) == 1:
            return models[0]
        if models:
            raise UsageError(f"expected one {suffix} file, or --entry to say which; got {models}")
    for path in files.values():
        check_prepared_name(model_format, path)
    raise UsageError(
        f"expected one {suffixes[0]} file, or --entry to say which; got []; --format says what"
        " kind of model it is, if it is no ONNX"
    )


def check_magic(model_format: str, path: Path) -> None:
    """Refuse a file that is not of its format, where nothing here loads it to see.

    Args:
        model_format: the model's.
        path: the file that the device's command opens.

    Raises:
        ModelUnloadable: it begins otherwise.
    """
    if model_format != GGUF:
        return
    with path.open("rb") as file:
        start = file.read(len(_GGUF_MAGIC))
    if start != _GGUF_MAGIC:
        raise ModelUnloadable(
            f"{path.name}: not a GGUF file: expected {_GGUF_MAGIC!r} at its start, got {start!r}"
        )


def check_prepared_name(model_format: str, path: Path) -> None:
    """Refuse what onnxruntime prepared for itself under a name by which it would not know it.

    Args:
        model_format: the model's.
        path: the file.

    Raises:
        UsageError: it is such a file, and is called otherwise; says how to give it.
    """
    if model_format != ONNX or path.suffix == _PREPARED_SUFFIX or not path.is_file():
        return
    if is_prepared(path):
        raise UsageError(
            f"{path.name} is a file that onnxruntime prepared for itself, which it opens only under"
            f" a name with {_PREPARED_SUFFIX}; what helps: {path.stem}{_PREPARED_SUFFIX}=FILE in"
            " the place of FILE, and --allow-compiled"
        )


def features_of(runtime: Runtime) -> tuple[str, ...]:
    """Give what a release requires of its readers for its kind of model."""
    kind = () if runtime.format == ONNX else (FEATURE,)
    return (*kind, *((COMPILED_FEATURE,) if runtime.compiled else ()))


def check_options(model_format: str, *, has_rebase: bool, onnxruntime: str) -> None:
    """Refuse options that only ONNX has.

    Args:
        model_format: the model's.
        has_rebase: whether a rebase was asked for.
        onnxruntime: the version that was asked for; empty for any.

    Raises:
        UsageError: one was given with another kind of model.
    """
    if model_format == ONNX:
        return
    if has_rebase:
        raise UsageError(f"--rebase moves ONNX models only, and this one is {model_format}")
    if onnxruntime:
        raise UsageError(f"--runtime is onnxruntime's version, and this model is {model_format}")


def command_notes(model_format: str) -> tuple[str, ...]:
    """Say to a person what a model needs that only devices' owners can give."""
    if not is_run_by_command(model_format):
        return ()
    said = f"devices run models of format {model_format!r} by a command that their owner names in"
    said = f"{said} device.toml ([formats.{model_format}]); those without one refuse it"
    return (f"{said} (incompatible), and nothing here has run it",)
