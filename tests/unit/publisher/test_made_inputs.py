"""Inputs that are made: on which the model runs and says something, and if none, what to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.release.build import Released
from slotcast_publisher.release.input_hints import Hints, hints_of
from slotcast_publisher.release.made_inputs import InputMaker, InputsWanted, NoInputs
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.repeatability import Run
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import PROBE2, Release, Tensor
from slotcast_schemas.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.samples import Samples, read_samples
from tests.support import input_models, typed_models
from tests.support.cli_runner import CliRunner
from tests.support.old_packages import NEWEST_TREES, PADS_WITHIN_BOUNDS


def released(repo: Repository, folder: Path, model: bytes, **options: object) -> Released:
    file = folder / "new.onnx"
    file.write_bytes(model)
    request = ReleaseRequest(model="made", version="2.0", files=(file,), **options)  # type: ignore[arg-type]  # the test's own
    return repo.build_release(request)


def on_device(repo: Repository, release: Release) -> ProbeResult:
    folder = repo.store.folder("made", release.version).files_dir
    candidate = SlotModel(str(folder), release.entry)
    return run_probe(
        ProbeRequest(
            candidate=candidate,
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
    )


def samples_of(repo: Repository) -> Samples:
    return read_samples(repo.store.folder("made", "2.0").files_dir / "samples.npz")


@pytest.mark.parametrize(
    "make", [pytest.param(input_models.padded, marks=PADS_WITHIN_BOUNDS), input_models.convolved]
)
def test_sizes_are_tried_that_the_model_runs_on(
    repo: Repository, tmp_path: Path, make: object
) -> None:
    assert callable(make)
    done = released(repo, tmp_path, make())
    assert done.release.probe.samples == "samples.npz"
    result = on_device(repo, done.release)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}


def test_kinds_of_numbers_are_tried_until_what_comes_out_is_finite(
    repo: Repository, tmp_path: Path
) -> None:
    done = released(repo, tmp_path, input_models.logarithm())
    assert on_device(repo, done.release).passed
    assert (np.asarray(samples_of(repo).inputs["x"]) > 0).all()


def test_the_first_size_that_runs_is_tried_with_every_kind_of_numbers(
    repo: Repository, tmp_path: Path
) -> None:
    """Tokens 0 and 1 mean the same to it, at any size; others do not."""
    done = released(repo, tmp_path, input_models.tokens_of_which_two_mean_the_same())
    assert on_device(repo, done.release).passed
    ids = np.asarray(samples_of(repo).inputs["ids"])
    assert ids.max() > 1
    assert ids.shape[1:] == (1, 8, 8)


@pytest.mark.parametrize(
    "make",
    [input_models.convolved_with_borders, input_models.remembering, input_models.attending],
)
def test_what_is_not_used_of_a_single_value_shows_when_it_is_damaged(
    repo: Repository, tmp_path: Path, make: Callable[[int], bytes]
) -> None:
    """Of an image of one pixel, a text of one word."""
    release = released(repo, tmp_path, make(1), seed=1).release
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / release.entry).write_bytes(make(-1))
    samples = repo.store.folder("made", "2.0").files_dir / "samples.npz"
    (folder / "samples.npz").write_bytes(samples.read_bytes())
    result = run_probe(
        ProbeRequest(candidate=SlotModel(str(folder), release.entry), probe=release.probe)
    )
    assert result.reason == "golden_mismatch"


@pytest.mark.parametrize(
    "make",
    [
        input_models.tree_of_incomes,
        pytest.param(input_models.tree_of_the_newest_kind, marks=NEWEST_TREES),
        input_models.regions_of_one_image,
        lambda: input_models.pooled_for(299),
        input_models.averaged_over_what_counts,
        input_models.told_where_asked,
        input_models.bonds_of_atoms,
    ],
    ids=["tree", "newest tree", "regions", "image of 299", "lengths", "mask", "graph"],
)
def test_inputs_are_found_for_kinds_that_people_ship(
    repo: Repository, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    result = on_device(repo, released(repo, tmp_path, make()).release)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}


def test_columns_are_drawn_around_the_thresholds_of_a_tree(
    repo: Repository, tmp_path: Path
) -> None:
    """So that a damaged leaf shows."""
    release = released(repo, tmp_path, input_models.tree_of_incomes()).release
    incomes = np.asarray(samples_of(repo).inputs["x"])[..., 1]
    assert incomes.min() < 20_000 < incomes.max()
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / release.entry).write_bytes(input_models.tree_of_incomes(swapped=True))
    samples = repo.store.folder("made", "2.0").files_dir / "samples.npz"
    (folder / "samples.npz").write_bytes(samples.read_bytes())
    candidate = SlotModel(str(folder), release.entry)
    assert (
        run_probe(ProbeRequest(candidate=candidate, probe=release.probe)).reason
        == "golden_mismatch"
    )


def test_a_graph_that_is_otherwise_than_onnx_has_it_gives_no_hints_and_goes_on() -> None:
    model = onnx.load_from_string(input_models.tree_of_incomes())
    values = next(each for each in model.graph.node[0].attribute if each.name == "nodes_values")
    values.CopyFrom(onnx.helper.make_attribute("nodes_values", 3.5))
    assert hints_of(model) == Hints()


def test_what_onnx_forbids_and_the_runtime_loads_is_released_with_a_word(
    repo: Repository, tmp_path: Path
) -> None:
    done = released(repo, tmp_path, input_models.output_without_a_rank())
    assert any("onnx finds fault with it" in warning for warning in done.warnings)
    assert on_device(repo, done.release).passed


def test_samples_that_nobody_asked_for_weigh_little_beside_the_model(
    repo: Repository, tmp_path: Path
) -> None:
    done = released(repo, tmp_path, input_models.logarithms(8192))
    assert samples_of(repo).runs == 2
    assert on_device(repo, done.release).passed


@pytest.mark.parametrize(
    "make",
    [
        input_models.reshaped,
        input_models.flattened,
        input_models.split_in_two,
        input_models.in_a_branch,
        input_models.multiplied_from_the_left,
        input_models.squeezed,
        input_models.with_states,
        input_models.sequence_of_rows,
    ],
)
def test_sizes_that_the_graph_allows_are_tried(
    repo: Repository, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    """None of them is one that is tried for every model."""
    result = on_device(repo, released(repo, tmp_path, make(), seed=1).release)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (input_models.words_of_a_table, "x"),
        (input_models.numbers_of_a_table, "x"),
        (input_models.names_of_a_map, "m"),
        (input_models.numbers_as_text, "x"),
    ],
)
def test_words_and_keys_that_stand_in_the_graph_are_given(
    repo: Repository, tmp_path: Path, make: Callable[[], bytes], name: str
) -> None:
    release = released(repo, tmp_path, make()).release
    assert name in samples_of(repo).inputs
    result = on_device(repo, release)
    assert result.passed, result.detail
    assert "golden" in {check.name for check in result.checks}


def test_a_shape_of_more_than_a_device_would_make_is_refused_before_it_is_made() -> None:
    tensors = [Tensor(name="x", dtype="tensor(float)", shape=("a", "b"))]
    wanted = InputsWanted(shapes={"x": (1_000_000, 4_000)})
    with pytest.raises(NoInputs, match=r"input 'x' of \[1000000, 4000\]: more than"):
        InputMaker(tensors, Hints(), wanted, seed=0)


def test_where_none_runs_it_says_which_samples_to_give_and_blames_nobody(
    repo: Repository, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"give --samples FILE.npz with 'x' \(float32 \[1, 4\]\)"):
        released(repo, tmp_path, input_models.never_runs())


def test_a_large_image_travels_in_a_few_bytes(repo: Repository, tmp_path: Path) -> None:
    done = released(repo, tmp_path, input_models.image(), seed=1)
    (file,) = (file for file in done.release.files if file.path == "samples.npz")
    assert file.size_bytes < 300_000
    assert samples_of(repo).runs > 1
    assert on_device(repo, done.release).passed


def test_without_samples_a_large_image_is_probed_too(repo: Repository, tmp_path: Path) -> None:
    done = released(repo, tmp_path, input_models.image())
    assert done.release.probe.samples is None
    assert done.release.requires == (PROBE2,)
    assert on_device(repo, done.release).passed


def test_shapes_and_ranges_are_taken_from_who_knows_them(repo: Repository, tmp_path: Path) -> None:
    file = tmp_path / "new.onnx"
    file.write_bytes(input_models.padded(8))
    words = ["release", str(repo.path), "made", "2.0", str(file), "--no-passphrase"]
    words += ["--shape", "x=2x100", "--range", "x=5:6"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    made = np.asarray(samples_of(repo).inputs["x"])
    assert made.shape[1:] == (2, 100)
    assert made.min() >= 5
    assert made.max() <= 6


@pytest.mark.parametrize("words", [["--shape", "x"], ["--shape", "y=1x2"], ["--range", "x=3"]])
def test_a_shape_or_range_that_cannot_be_is_refused(
    repo: Repository, tmp_path: Path, words: list[str]
) -> None:
    file = tmp_path / "new.onnx"
    file.write_bytes(input_models.padded(8))
    done = CliRunner().invoke(app, ["release", str(repo.path), "made", "2.0", str(file), *words])
    assert isinstance(done.exception, UsageError)
    assert repo.store.versions("made") == []


def test_a_graph_tells_sizes_that_its_weights_fix() -> None:
    hints = hints_of(onnx.load_from_string(input_models.convolved()))
    assert hints.sizes == {("x", 3): 3}


def test_a_length_is_that_of_the_input_that_it_speaks_of(repo: Repository, tmp_path: Path) -> None:
    released(repo, tmp_path, input_models.averaged_over_what_counts())
    made = samples_of(repo).inputs
    sound, lengths = np.asarray(made["sound"]), np.asarray(made["lengths"])
    assert sound.shape[-1] > 40
    assert set(lengths.reshape(-1).tolist()) == {sound.shape[-1]}


def test_regions_are_never_said_to_lie_in_an_image_that_may_not_be_there() -> None:
    """Old runtimes read past the images, and now and then find finite numbers there."""
    hints = hints_of(onnx.load_from_string(input_models.regions_of_one_image()))
    tensors = [
        Tensor(name="x", dtype="tensor(float)", shape=(1, 2, 16, 16)),
        Tensor(name="rois", dtype="tensor(float)", shape=("r", 4)),
        Tensor(name="batch", dtype="tensor(int64)", shape=("r",)),
    ]
    tried: list[int] = []

    def refuse(feed: Feed) -> Run:
        tried.extend(np.asarray(feed["batch"]).tolist())
        raise ValueError

    with pytest.raises(NoInputs, match="no made inputs run"):
        InputMaker(tensors, hints, InputsWanted(), seed=0).find(refuse, runs=2)
    assert set(tried) == {0}


@pytest.mark.parametrize(
    "model",
    [
        typed_models.declared_wrongly(),
        typed_models.declared_wrongly(name="y" * 300),
        typed_models.declared_wrongly(free="floor(height/32) + " * 18),
    ],
)
def test_the_contract_is_what_the_model_does(
    repo: Repository, tmp_path: Path, model: bytes
) -> None:
    done = released(repo, tmp_path, model)
    assert [len(output.shape) for output in done.release.outputs] == [3]
    assert any("the release says what the model does" in warning for warning in done.warnings)
    assert done.release.requires == (PROBE2,)
    result = on_device(repo, done.release)
    assert result.passed, result.detail
