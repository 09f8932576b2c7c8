"""Every reason word that a device or a publisher can say, who must act on it, and what it means.

The words are part of the wire contract: they travel in the `reason` of a status, stand in exits
and logs, and are counted by dashboards. A word never changes its meaning and is never taken away;
a new one is added here, and nowhere is one written by hand. The table in docs/device.md is made
from this file by `python tools/key_tables.py`.

A reader must take words that it does not know: a newer device may say more, and an application
that cannot take a release over gives a word of its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Actor(StrEnum):
    """Who must act on a reason."""

    NOBODY = "nobody"
    PUBLISHER = "the publisher"
    NETWORK = "the network"
    DEVICE = "this device"
    OWNER = "the device's owner"
    AUTHORS = "the model's authors"
    OPERATOR = "whoever typed it"


class Reason(StrEnum):
    """A stable word.

    Attributes:
        actor: who must act.
        meaning: one sentence for people.
    """

    actor: Actor
    meaning: str

    def __new__(cls, word: str, actor: Actor, meaning: str) -> Self:
        """Make a member from its word, who must act, and its meaning."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.actor = actor
        member.meaning = meaning
        return member

    # --- nobody must act: how things go --------------------------------------------------------

    NO_NOTICE = "no_notice", Actor.NOBODY, "No notice for this model came yet."
    UP_TO_DATE = "up_to_date", Actor.NOBODY, "The announced release serves already."
    NOT_IN_GROUP = (
        "not_in_group",
        Actor.NOBODY,
        "The notice offers the release to other devices, not to this one.",
    )
    SPREAD = (
        "spread",
        Actor.NOBODY,
        "The device waits for its place in the time within which the fleet is to ask.",
    )
    AWAITS_DELTA = (
        "awaits_delta",
        Actor.NOBODY,
        "The device waits for a delta from what it runs, before it takes a whole image.",
    )
    DOWNLOADING = "downloading", Actor.NOBODY, "The chunks of the release are being collected."
    BUILDING = "building", Actor.NOBODY, "The release is being built into the standby slot."
    PROBING = "probing", Actor.NOBODY, "The release is tried in a process of its own."
    SWITCHING = "switching", Actor.NOBODY, "`current` is about to open the new release."
    ON_TRIAL = "on_trial", Actor.NOBODY, "The new release serves and is being watched."
    COMMITTED = "committed", Actor.NOBODY, "The new release passed its trial."
    PASSED = "passed", Actor.NOBODY, "A probe or a trial found nothing wrong."
    CONNECTED = "connected", Actor.NOBODY, "The device is connected to a broker."
    STARTING = "starting", Actor.NOBODY, "The agent has begun, and no broker has answered yet."
    STOPPED = "stopped", Actor.NOBODY, "The agent was stopped in order."

    # --- the publisher must act ----------------------------------------------------------------

    REFUSED = "refused", Actor.PUBLISHER, "What was announced cannot be accepted."
    MALFORMED = (
        "malformed",
        Actor.PUBLISHER,
        "The bytes are no message of the kind expected, or break one of its bounds.",
    )
    OVERSIZED = "oversized", Actor.PUBLISHER, "The message is larger than its bound."
    UNSUPPORTED_FEATURE = (
        "unsupported_feature",
        Actor.PUBLISHER,
        "The message requires a feature, by name, that this software does not have.",
    )
    BAD_SIGNATURE = (
        "bad_signature",
        Actor.PUBLISHER,
        "Too few of the keys that the pinned root trusts have signed it.",
    )
    EXPIRED = "expired", Actor.PUBLISHER, "The signed metadata is past its date."
    REPLAYED = (
        "replayed",
        Actor.PUBLISHER,
        "The signed metadata is older than what was seen before: a replay, or a restored backup.",
    )
    DOWNGRADE = (
        "downgrade",
        Actor.PUBLISHER,
        "The release is older than the newest one that was committed here.",
    )
    WRONG_MODEL = "wrong_model", Actor.PUBLISHER, "The notice speaks of another model."
    INCONSISTENT = "inconsistent", Actor.PUBLISHER, "Signed parts contradict each other."
    INCOMPATIBLE = (
        "incompatible",
        Actor.PUBLISHER,
        "The release needs a runtime or a payload codec that this device does not have.",
    )
    TOO_LARGE = (
        "too_large",
        Actor.PUBLISHER,
        "The release is larger than the device's memory, disk or configured limits allow.",
    )
    BENCHED = (
        "benched",
        Actor.PUBLISHER,
        "The release failed on this device before, and is not tried again by itself.",
    )
    FULL_FORBIDDEN = (
        "full_forbidden",
        Actor.PUBLISHER,
        "Only a full transfer would do, and the offer or the device's policy forbids it.",
    )
    PAYLOAD_CORRUPT = (
        "payload_corrupt",
        Actor.PUBLISHER,
        "A payload that matches its signed chunk map does not give the signed image.",
    )
    PAYLOADS_BROKEN = (
        "payloads_broken",
        Actor.PUBLISHER,
        "Payloads gave another image, or gave way before they were whole: no other comes today.",
    )
    TRIED_ENOUGH = (
        "tried_enough",
        Actor.PUBLISHER,
        "The release failed here, again and again: it is tried no more today.",
    )
    WRONG_BASE = (
        "wrong_base",
        Actor.PUBLISHER,
        "The base of a delta is not the image that this device holds.",
    )
    NO_CONTENT_KEY = (
        "no_content_key",
        Actor.PUBLISHER,
        "The release is encrypted, and the device is not one of its recipients.",
    )
    PAUSED = "paused", Actor.PUBLISHER, "The publisher holds the release back for now."
    CANCELED = "canceled", Actor.PUBLISHER, "The publisher has taken the release back."
    SUPERSEDED = (
        "superseded",
        Actor.NOBODY,
        "Another release is to be installed, and this one's trial kept it waiting for too long.",
    )
    CONFLICT = (
        "conflict",
        Actor.PUBLISHER,
        "What is asked for contradicts what was signed before; nothing was changed.",
    )
    NOT_FOUND = (
        "not_found",
        Actor.PUBLISHER,
        "The model, release, notice or key that is asked for does not exist.",
    )
    PUBLISHER_BEHIND = (
        "publisher_behind",
        Actor.PUBLISHER,
        "The broker has a notice that this repository did not sign, or signed and lost since.",
    )
    CLOCK_WRONG = (
        "clock_wrong",
        Actor.PUBLISHER,
        "The clock of the publisher's machine cannot be right; nothing was signed.",
    )
    REPOSITORY_DAMAGED = (
        "repository_damaged",
        Actor.PUBLISHER,
        "A file of the repository is missing, or is not what was signed.",
    )

    # --- the network must act ------------------------------------------------------------------

    TRANSFER_FAILED = "transfer_failed", Actor.NETWORK, "The transfer cannot go on now."
    LINK_DOWN = (
        "link_down",
        Actor.NETWORK,
        "No broker could be reached, or the connection was lost.",
    )
    BROKER_REFUSED = (
        "broker_refused",
        Actor.NETWORK,
        "The broker answered and refused, for credentials, rights or protocol.",
    )
    PACKET_LIMIT = (
        "packet_limit",
        Actor.NETWORK,
        "The broker takes no packets of the size that the payload needs.",
    )
    PROTOCOL_VIOLATION = (
        "protocol_violation",
        Actor.NETWORK,
        "The broker sent what MQTT forbids it to send, or more than it was told to.",
    )
    USELESS_TRAFFIC = (
        "useless_traffic",
        Actor.NETWORK,
        "The broker sent far more than was asked for.",
    )
    CHUNK_CORRUPT = (
        "chunk_corrupt",
        Actor.NETWORK,
        "A chunk differs from the signed chunk map, again and again.",
    )
    STALLED = "stalled", Actor.NETWORK, "What was asked for does not come."
    SLOW = "slow", Actor.NETWORK, "The transfer goes on below the configured rate."

    # --- this device must act ------------------------------------------------------------------

    STORAGE_FAILED = (
        "storage_failed",
        Actor.DEVICE,
        "The device's storage failed; what serves is untouched.",
    )
    DISK_FULL = (
        "disk_full",
        Actor.DEVICE,
        "There is too little room for the standby slot or the payload.",
    )
    STATE_UNWRITABLE = (
        "state_unwritable",
        Actor.DEVICE,
        "The state directory cannot be written: rights, a read-only mount, or a failing disk.",
    )
    STATE_UNREADABLE = (
        "state_unreadable",
        Actor.DEVICE,
        "The durable record is there and is damaged.",
    )
    STATE_TOO_NEW = (
        "state_too_new",
        Actor.DEVICE,
        "A newer version of this software wrote the durable record.",
    )
    STATE_LOCKED = (
        "state_locked",
        Actor.DEVICE,
        "Another process works on the same state directory.",
    )
    SLOT_DAMAGED = (
        "slot_damaged",
        Actor.DEVICE,
        "Files of a slot are not what was signed: tampering, or a failing disk.",
    )
    SLOT_TAMPERED = (
        "slot_tampered",
        Actor.DEVICE,
        "What a slot says it holds is not what the pinned root vouches for: somebody changed it.",
    )
    SLOTS_KEY_MISSING = (
        "slots_key_missing",
        Actor.DEVICE,
        "The slots are encrypted, and their key cannot be had: file or token; it is tried again.",
    )
    NO_WAY_BACK = (
        "no_way_back",
        Actor.DEVICE,
        "The release is unfit, and the old one is damaged: the new one goes on serving.",
    )
    DEVICE_BUSY = (
        "device_busy",
        Actor.DEVICE,
        "The device is too short of processor to judge the model; it is probed again.",
    )
    SOFTWARE_BROKEN = (
        "software_broken",
        Actor.DEVICE,
        "Part of the software, such as onnxruntime, cannot be loaded: install it anew.",
    )
    PROBE_NOT_HELD = (
        "probe_not_held",
        Actor.DEVICE,
        "The probe found no process to run in, or was ended from outside; it is held again.",
    )
    PROBE_NOT_STARTED = (
        "probe_not_started",
        Actor.DEVICE,
        "No process could be started for the probe.",
    )
    PROBE_KILLED = (
        "probe_killed",
        Actor.DEVICE,
        "The probe was killed from outside, three times in a row.",
    )
    PROBE_CANCELED = "probe_canceled", Actor.DEVICE, "The agent ended the probe."
    MEMORY_SHORT = (
        "memory_short",
        Actor.DEVICE,
        "There was too little memory for the device's own work; it is tried again.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        Actor.DEVICE,
        "This software has a defect; its log has the rest.",
    )
    ERROR = "error", Actor.DEVICE, "Something failed for which there is no better word."

    # --- the device's owner must act -----------------------------------------------------------

    OWNER = "owner", Actor.OWNER, "The owner's windows, consent and hooks are being asked."
    OWNER_REFUSED = "owner_refused", Actor.OWNER, "The owner refused the release."
    METERED_LINK = (
        "metered_link",
        Actor.OWNER,
        "Only a full transfer would do, and it waits for a link that is not metered.",
    )
    BYTE_BUDGET = (
        "byte_budget",
        Actor.OWNER,
        "A full transfer waits for the next day's bytes.",
    )
    WINDOW = "window", Actor.OWNER, "The update waits for the next update window."
    CONSENT = "consent", Actor.OWNER, "The update waits until somebody agrees."
    HOOK = "hook", Actor.OWNER, "A hook asks the update to wait."
    HOOK_FAILED = (
        "hook_failed",
        Actor.OWNER,
        "A hook is closed to the agent, was not done in time, or gave no answer that is known.",
    )
    HOOK_REFUSED = "hook_refused", Actor.OWNER, "A hook refused the release."
    BY_HAND = "by_hand", Actor.OWNER, "A person asked to go back."
    SET_BACK = (
        "set_back",
        Actor.OWNER,
        "The device was set back to its provisioned release; updates wait until its owner resumes.",
    )
    SWITCHED_BY_HAND = (
        "switched_by_hand",
        Actor.OWNER,
        "`current` was pointed at the other slot while no agent ran.",
    )
    ID_IN_USE = (
        "id_in_use",
        Actor.OWNER,
        "Another client came to the broker with this device's id.",
    )

    # --- the model's authors must act ----------------------------------------------------------

    MODEL_FAILED = "model_failed", Actor.AUTHORS, "The model is not fit to serve here."
    MODEL_UNLOADABLE = "model_unloadable", Actor.AUTHORS, "The runtime cannot load the model."
    UNSAFE_MODEL = (
        "unsafe_model",
        Actor.AUTHORS,
        "The model's file asks for something outside its slot.",
    )
    CONTRACT_BROKEN = (
        "contract_broken",
        Actor.AUTHORS,
        "The model's inputs or outputs are not those that the release declares.",
    )
    NONFINITE_OUTPUT = "nonfinite_output", Actor.AUTHORS, "The model answers NaN or infinity."
    CONSTANT_OUTPUT = (
        "constant_output",
        Actor.AUTHORS,
        "The model gives the same answer whatever it is asked.",
    )
    GOLDEN_MISMATCH = (
        "golden_mismatch",
        Actor.AUTHORS,
        "The model's answers to the golden samples are not those that the publisher saw.",
    )
    ACCURACY_LOW = "accuracy_low", Actor.AUTHORS, "Too few labelled samples come out right."
    TOO_MUCH_MEMORY = "too_much_memory", Actor.AUTHORS, "The model takes more memory than allowed."
    TOO_SLOW = "too_slow", Actor.AUTHORS, "The model loads or answers more slowly than allowed."
    RUN_FAILED = "run_failed", Actor.AUTHORS, "A run of the model raised an error."
    PROBE_CRASHED = "probe_crashed", Actor.AUTHORS, "The model ended the process that tried it."
    PROBE_TIMEOUT = "probe_timeout", Actor.AUTHORS, "The probe was not done in time."
    SAMPLES_UNREADABLE = (
        "samples_unreadable",
        Actor.AUTHORS,
        "The release's samples do not fit its model.",
    )
    SAMPLES_MISSING = (
        "samples_missing",
        Actor.AUTHORS,
        "No inputs can be made for this model: give samples to the release.",
    )
    LOAD_TIMEOUT = (
        "load_timeout",
        Actor.AUTHORS,
        "The application did not load the model in time.",
    )
    APP_REFUSED = (
        "app_refused",
        Actor.AUTHORS,
        "The application could not take the release over, and did not say why.",
    )
    RESTARTS = "restarts", Actor.AUTHORS, "Agent or application restarted too often on trial."
    ERRORS = "errors", Actor.AUTHORS, "Too many requests raised an error."
    TRIAL_DEADLINE = (
        "trial_deadline",
        Actor.AUTHORS,
        "Too few requests came before the trial's deadline.",
    )

    # --- whoever typed it must act -------------------------------------------------------------

    USAGE = (
        "usage",
        Actor.OPERATOR,
        "A command, a configuration or an input file is wrong; the message says what is expected.",
    )
    KEY_UNAVAILABLE = (
        "key_unavailable",
        Actor.OPERATOR,
        "Too few of the private keys that a role needs can be used from here.",
    )
