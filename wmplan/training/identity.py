"""What a training run is: its settings, the content of its data and of a pretrained encoder. No path is part of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wmplan.atomic_io import remove_leftovers
from wmplan.checked import DamagedFileError, check, json_hash, read_json_checked, write_json_checked
from wmplan.data.fingerprint import Files
from wmplan.errors import UserError
from wmplan.settings.difference import differences, require_same
from wmplan.training.config import TrainConfig
from wmplan.training.pretraining.config import PretrainConfig

RunConfig = TrainConfig | PretrainConfig
FREE = (
    "data", "more_data", "out", "pretrained", "threads", "device", "devices", "logger", "name", "planning", "half",
    "regions",
)  # fmt: skip
"""Settings that may change in the middle of a run: paths, and what no weight depends on."""
LATER: dict[str, Any] = {
    "train_encoder": False,
    "cameras": None,
    "camera_encoders": "own",
    "data_rate": None,
    "action_kind": [],
    "action_bounds": None,
    "precision": "auto",
    "state_weight": 0.0,
}
"""Settings that came later, with what runs did before: these are told where they differ, so that old runs go on."""
RECORD = "train.json"


def compared(config: RunConfig) -> dict[str, Any]:
    """The settings that the weights depend on, as JSON gives them back."""
    settings = {
        name: value
        for name, value in json.loads(json.dumps(asdict(config))).items()
        if name not in FREE and (name not in LATER or value != LATER[name])
    }
    return settings


def read_record(config: RunConfig) -> dict[str, Any] | None:
    """What the run folder says of the run in it; None where there is none, or nothing of it that could be lost.

    Raises:
        UserError: if that has other settings, or is damaged.
    """
    folder = Path(config.out)
    path = folder / RECORD
    if not path.exists() or not holds_work(folder):
        return None
    document = read_json_checked(path)
    if (rounded := document["settings"].get("bfloat16")) is not None:  # the old name of precision
        document["settings"] |= {"bfloat16": None, "precision": "bf16" if rounded else 32}
    require_same(folder, document["settings"], compared(config), "a training run")
    return document


def claim(
    config: RunConfig, record: Mapping[str, Any] | None, data: Files, pretrained: str | None, write: bool = True
) -> dict[str, Any]:
    """Write into the folder what the run is, or check that it is the same; what every file of it is made from.

    Args:
        record: as read_record() gave it.
        data: the data's fingerprint.
        pretrained: hash of the encoder that is taken over.
        write: only check, where another process of the run writes.

    Raises:
        UserError: if the run in the folder has other data or another encoder, or the folder cannot be written.
    """
    folder = Path(config.out)
    anew = f"give another out=DIR, or delete {folder} to begin anew"
    if record is not None:
        if (name := other_file(record["data"], data)) is not None:
            raise UserError(
                f"{folder} holds a run on other data: {name} of data={config.data} is not what it was trained on; "
                f"{anew}"
            )
        if record["pretrained"] != pretrained:
            named = getattr(config, "pretrained", None)
            raise UserError(
                f"{folder} holds a run on another encoder: that of pretrained={named} has other weights; {anew}"
            )
        if write:
            remove_leftovers(folder)
    if write and not holds_work(folder):
        for log in folder.glob("*.jsonl"):  # of a try that was given up before its first save
            log.unlink()
    document = {"settings": compared(config), "data": data, "pretrained": pretrained}
    if write and document != record:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json_checked(folder / RECORD, document)
        except OSError as error:
            raise UserError(f"out={folder} cannot be written: {error.strerror}") from None
    return {**document, "data": json_hash([entry["sha256"] for entry in data.values()])}


def holds_work(folder: Path) -> bool:
    """Whether something was trained or encoded in the folder."""
    return any(any(folder.glob(pattern)) for pattern in ("*.checkpoint.pt", "latents*.npy", "taught*.npy", "model"))


def other_file(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first file with another content, by its place in the data set; None where all is as it was."""
    old, new = ([entry["sha256"] for entry in files.values()] for files in (before, now))
    if old == new:
        return None
    names = list(now) if len(now) >= len(before) else list(before)
    return next(
        name for place, name in enumerate(names) if place >= min(len(old), len(new)) or old[place] != new[place]
    )


def require_made_from(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UserError that names what differs, unless a file was made from what it would be made from now."""
    for name, old, new in differences(before, json.loads(json.dumps(now))):
        raise UserError(
            f"{path} was made with {name}={old!r:.60}, this run has {new!r:.60}: delete it, and it is made again, or "
            "give another out=DIR"
        )


def require_encoder(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Raise a UserError that names all files of a run that were made from another encoder than it has now."""
    stale = []
    for path in sorted([*folder.glob("latents*.npy"), *folder.glob("*.checkpoint.pt")]):
        try:
            before = check(path)
        except DamagedFileError:
            continue  # said when it is read
        if "encoder" in before and before["encoder"] != made_from["encoder"]:
            stale.append(path.name)
    if stale:
        raise UserError(
            f"{folder} has another encoder than {', '.join(stale)} were made with: delete these, and they are made "
            "again; or give another out=DIR"
        )
