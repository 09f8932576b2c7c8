"""What counts as a mutant that only changes words, and what each exit code means."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
MUTATED = """
def x_greet__mutmut_orig(name, limit=3):
    if limit > 3:
        raise ValueError(f"expected at most {limit} names", "got more")
    return {"name": name}

def x_greet__mutmut_1(name, limit=3):
    if limit > 3:
        raise ValueError(f"expected at most {limit} names", "XXgot moreXX")
    return {"name": name}

def x_greet__mutmut_2(name, limit=3):
    if limit >= 3:
        raise ValueError(f"expected at most {limit} names", "got more")
    return {"name": name}

def x_greet__mutmut_3(name, limit=3):
    if limit > 3:
        raise ValueError(f"expected at most {limit} names", "got more")
    return {"NAME": name}

def x_greet__mutmut_4(name, limit=4):
    if limit > 3:
        raise ValueError(f"expected at most {limit} names", "got more")
    return {"name": name}

def x_greet__mutmut_5(name, limit=3):
    if limit > 3:
        raise ValueError(f"expected at most {limit} names", None)
    return {"name": name}
"""


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_tool", ROOT / "tools" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of which five mutants of one function are known."""
    made = tmp_path / "mutants" / "src" / "slotcast_device" / "core"
    made.mkdir(parents=True)
    (made / "greet.py").write_text(MUTATED)
    codes = zip("12345", (0, 1, 0, 36, None), strict=True)
    keys = {f"slotcast_device.core.greet.x_greet__mutmut_{n}": code for n, code in codes}
    (made / "greet.py.meta").write_text(json.dumps({"exit_code_by_key": keys}))
    return tmp_path


def test_only_a_changed_sentence_is_only_words(mutants: ModuleType, folder: Path) -> None:
    """A key, a number, a default and a sentence that is gone are more than that."""
    fates = mutants.fates(folder)
    assert list(fates) == ["greet.py"]
    assert [became.value for became in fates["greet.py"].values()] == [
        "only words",
        "found",
        "survived",
        "timed out",
        "untried",
    ]


def test_the_table_counts_what_was_tried_and_is_more_than_words(
    mutants: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mutants.report(mutants.PARTS[0], folder)
    lines = capsys.readouterr().out.splitlines()
    assert "| greet.py | 3 | 2 | 1 | 1 | 66.7% | 1 | 1 |" in lines
    assert "| all | 3 | 2 | 1 | 1 | 66.7% | 1 | 1 |" in lines
    survivors = (folder / "survivors.txt").read_text()
    assert survivors == "slotcast_device.core.greet.x_greet__mutmut_3\n"


def test_what_is_known_is_read_between_two_runs_too(mutants: ModuleType, folder: Path) -> None:
    """The changed sources are deleted before a run, which makes them anew."""
    (folder / "mutants" / "src" / "slotcast_device" / "core" / "greet.py").unlink()
    assert len(mutants.left(folder, "*__mutmut_*")) == 3
