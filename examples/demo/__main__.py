"""`python -m examples.demo`: plays the story; 0 only if every step was really observed."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from examples.demo.picture import Picture
from examples.demo.show import NotObserved, Show
from slotcast_schemas.errors import SlotcastError


def main() -> int:
    """Play the story; gives the exit code."""
    parser = argparse.ArgumentParser(prog="examples.demo", description=__doc__)
    parser.add_argument("--keep", type=Path, help="do it in this new folder, and leave it there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the terminal as SVG")
    parser.add_argument(
        "--acts", type=int, nargs="+", default=[2, 4], help="of the picture: these; else 2 and 4"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    picture = None if options.picture is None else Picture(options.acts)
    show = Show(picture=picture)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="slotcast-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        status = _play(show, folder)
        if picture is not None and status == 0:
            picture.write(options.picture, "make demo")
        return status
    except KeyboardInterrupt:
        show.say("stopped; everything is cleaned up")
        return 130
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _play(show: Show, folder: Path) -> int:
    show.say("importing numpy, scikit-learn, onnx and onnxruntime ...")
    from examples.demo.story import play

    try:
        play(show, folder)
    except (NotObserved, SlotcastError) as exc:
        show.failed(f"{exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
