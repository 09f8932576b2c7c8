"""Checks against what takes all of something: time, memory, places, or others' part of a sum."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import PUBLISHER, SCHEMAS, attack_break

_MODEL_FILES: Final = (
    "security/test_hostile_model_files.py::"
    "test_no_file_of_a_model_ends_or_hangs_who_looks_for_its_tensors"
)

_FILES: Final = (
    attack_break(
        "a pipe or a device in the place of a file for TLS, which OpenSSL would wait at",
        "what OpenSSL opens by its name is a file of a bounded size",
        "security/test_own_files.py::test_no_file_of_tls_is_waited_at",
        f"{SCHEMAS}/broker.py",
        "            check_regular(ca)\n",
        "            pass\n",
    ),
    attack_break(
        "a device without end there, for all the memory there is; a socket, a folder, a file of a"
        " terabyte",
        "what is read as a whole is a plain file",
        "security/test_own_files.py::"
        "test_neither_does_anything_else_that_is_no_file_of_its_size[a device]",
        f"{SCHEMAS}/plain_files.py",
        "    with open_regular(path) as file:\n        # Room",
        '    with path.open("rb") as file:\n        file.read()\n        # Room',
    ),
    attack_break(
        "other users write into folders of a repository or a device's state that were made under a"
        " umask of 000",
        "a command has a umask by which others write nowhere",
        "security/test_open_umask.py::test_nothing_that_a_command_makes_can_be_written_by_others",
        f"{SCHEMAS}/command.py",
        "    os.umask(os.umask(_OTHERS_WRITE) | _OTHERS_WRITE)\n",
        "",
    ),
    attack_break(
        "a rollout's plan with a key of 100,000 parts, which takes all memory there is",
        "a key of TOML has so many parts and no more",
        "security/test_endless_keys.py::test_a_key_without_end_costs_no_memory",
        f"{SCHEMAS}/bounded_toml.py",
        '    if text.count(".") >= KEY_PARTS_MAX:\n',
        "    if False:\n",
    ),
    attack_break(
        "the same in a publisher's repository",
        "what is nested too deeply is refused as what is no document",
        "security/test_deep_documents.py::test_a_repositorys_files_are_named_as_damaged",
        f"{SCHEMAS}/decode_errors.py",
        "(msgspec.DecodeError, ValueError, RecursionError)",
        "(msgspec.DecodeError, ValueError)",
    ),
)

_MODELS: Final = (
    attack_break(
        "archives in archives in archives",
        "archives are looked into so deeply and no more",
        f"{_MODEL_FILES}[archives in archives]",
        f"{PUBLISHER}/delta/formats/archive.py",
        "    if depth >= _DEPTH_MAX:\n",
        "    if False:\n",
    ),
    attack_break(
        "an archive in which many names have the same bytes, an archive of the same kind",
        "of members with the same bytes, the first counts",
        f"{_MODEL_FILES}[many names of one archive]",
        f"{PUBLISHER}/delta/formats/archive.py",
        "        if info.header_offset < end:\n",
        "        if False:\n",
    ),
    attack_break(
        "a safetensors file with a size without end",
        "a size that no number holds is no tensor's",
        f"{_MODEL_FILES}[a size without end]",
        f"{PUBLISHER}/delta/formats/safetensors.py",
        "(ValueError, OverflowError, KeyError,",
        "(ValueError, KeyError,",
    ),
    attack_break(
        "a pickle with a shape of hundreds of thousands of numbers",
        "a shape has so many numbers and no more",
        f"{_MODEL_FILES}[a shape of many numbers]",
        f"{PUBLISHER}/delta/formats/torch_pickle.py",
        "    if not 1 < len(size) <= DIMS_MAX:\n",
        "    if not 1 < len(size):\n",
    ),
    attack_break(
        "it ends, signals (by the owner of an open file, too), traces, limits and schedules the"
        " agent and others",
        "the probe says for nobody who gets a signal of its open files",
        "security/test_probe_confinement.py::test_it_signals_traces_and_limits_no_other_process[probe]",
        f"{SCHEMAS}/confinement/call_filter.py",
        '    program += _refuse_if_one_of(known["fcntl"], 1, OWNERS_BY_FCNTL)\n',
        "",
    ),
)

_SERVICES: Final = (
    attack_break(
        "one address that takes all places for connections, and takes them again every half minute",
        "the address with most places gives one to who comes",
        "security/test_page_requests.py::"
        "test_one_address_that_holds_all_places_keeps_nobody_else_out",
        f"{PUBLISHER}/fleet/web/places.py",
        "        if len(self._held[fullest]) <= own:\n",
        "        if True:\n",
    ),
    attack_break(
        "who asks for much and reads nothing of it, to hold all places that there are",
        "who takes nothing of an answer is hung up on",
        "security/test_page_requests.py::test_who_asks_and_reads_nothing_is_hung_up_on",
        f"{PUBLISHER}/fleet/web/patience.py",
        "            self._unread = self.loop.call_later(UNREAD_MAX_S, self.drop)\n",
        "            pass\n",
    ),
    attack_break(
        "a device that asks for certificates twenty times a second, to keep `serve` and its machine"
        " busy",
        "so many answers of a device in a day and no more",
        "security/test_hostile_serve_peers.py::"
        "test_a_device_that_asks_without_end_is_answered_so_often_a_day_and_others_go_on",
        f"{PUBLISHER}/serve/heard_renewals.py",
        '        return found == "answer"\n',
        "        return True\n",
    ),
    attack_break(
        "the largest figures that a message may hold, again and again, so that no device's figures"
        " are added up any more",
        "a sum of requests is never more than the database holds",
        "security/test_impossible_figures.py::"
        "test_the_largest_figures_of_one_device_are_added_and_so_are_those_of_others",
        f"{PUBLISHER}/fleet/figures/release_figures.py",
        "        requests=min(COUNT_MAX, sum(part.requests for part in found)),\n",
        "        requests=sum(part.requests for part in found),\n",
    ),
    attack_break(
        "requests that no device can have answered, for sums in which others count no more",
        "figures are of no more requests than time allows",
        "security/test_impossible_figures.py::"
        "test_requests_that_no_device_can_have_answered_are_not_added_and_the_next_are",
        f"{PUBLISHER}/fleet/intake/taking.py",
        "    if not _can_have_answered(metrics, heard, record):\n",
        "    if False:\n",
    ),
    attack_break(
        "one device of endless requests without an error, which hides a bad release from its"
        " rollout",
        "none counts for more requests than a quarter of the devices have",
        "security/test_impossible_figures.py::"
        "test_one_device_hides_no_errors_of_all_others_in_a_verdict",
        f"{PUBLISHER}/fleet/figures/comparison.py",
        "[len(values) // USUAL_SHARE]",
        "[0]",
    ),
    attack_break(
        "a few devices that lie together, to hide a bad release",
        "none counts for more requests than a quarter of the devices have",
        "security/test_colluding_devices.py::test_a_few_that_lie_together_hide_no_bad_release",
        f"{PUBLISHER}/fleet/figures/comparison.py",
        "    return [row * (most / row[-1]) if row[-1] > most else row for row in rows]\n",
        "    return [row * (most / row[-1]) if row[-1] > 1e99 else row for row in rows]\n",
    ),
    attack_break(
        "the same, to stop a good one",
        "of what a device measures, no more counts than twice what others have",
        "security/test_colluding_devices.py::test_a_few_that_lie_together_do_not_stop_a_rollout",
        f"{PUBLISHER}/fleet/figures/comparison.py",
        "    most = MEASURED_MAX * _usual(measured)\n",
        "    most = math.inf\n",
    ),
)

RESOURCE_ATTACKS: Final = (*_FILES, *_MODELS, *_SERVICES)
