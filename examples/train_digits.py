"""`python -m examples.train_digits FOLDER`: trains a small model to try Slotcast with.

Writes `digits.onnx`, which reads handwritten digits, and `reference.npz`: digits, their labels,
and the outputs that the training itself gave, which every device must reproduce.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Train, write both files, and say how well it reads."""
    parser = argparse.ArgumentParser(prog="examples.train_digits", description=__doc__)
    parser.add_argument("folder", type=Path, help="made if it is not there")
    parser.add_argument("--epochs", type=int, default=8, help="more: a better model, the next one")
    options = parser.parse_args()
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        parser.error(f"cannot make the folder {options.folder}: {exc.strerror}; name another one")
    from examples.demo.digits import Digits, Student, write_onnx

    digits = Digits()
    student = Student(digits)
    student.learn(options.epochs)
    model = options.folder / "digits.onnx"
    model.write_bytes(write_onnx(student.layers))
    student.write_samples(options.folder / "reference.npz")
    right = student.accuracy(digits.held_x, digits.held_y)
    sys.stdout.write(f"{model}: {model.stat().st_size / 1e6:.1f} MB, reads {right:.1%} rightly\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
