"""What a data set says of itself: meta.json beside the shards."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_durably
from wmplan.checked import json_hash
from wmplan.errors import UserError
from wmplan.settings.build import build

FORMAT, VERSION = "wmplan-episodes", 1


class DataError(UserError):
    """A data set, or a request for one, is wrong; the message names the file and what would be right."""


class DamagedError(DataError):
    """A file is cut short, or its bytes are not those that were written."""

    @classmethod
    def of(cls, path: Path, error: Exception) -> DamagedError:
        """What a library said of a file, in one line."""
        text = " ".join(str(error).split())[:200]
        return cls(f"{path} is cut short or damaged ({text}); fetch it again")


@dataclass(frozen=True)
class StoreMeta:
    """What was collected and how. Of a public data set only what its file tells is known; the rest is None or empty.

    Attributes:
        task: Gymnasium id of the task.
        seed: of the collection.
        episodes: in the whole data set.
        steps: robot steps in an episode; an episode has one row more. None where lengths differ.
        episodes_per_shard: episodes in every shard but the last.
        control_rate: robot steps in a second.
        image_size: (height, width) of the frames in pixels.
        action_low, action_high: bounds of an action, in the robot's units.
        action_names, state_names, proprio_names: names of the entries, with the unit as suffix.
        variation: whether each episode has a look and physics of its own; the factors' names where only some vary.
        varied_frames: whether each frame was drawn a second time with other looks; the factors' names where only some
            vary.
        strength: share of the factors' ranges that was drawn from.
        policy: what chose the actions.
        policy_options: of it, as CollectionPolicy.as_dict() tells them; empty of the environment's own policy.
        environment: options of the environment.
        versions: of the packages that made it.
    """

    task: str | None
    seed: int | None
    episodes: int
    steps: int | None
    episodes_per_shard: int
    control_rate: float | None
    image_size: tuple[int, int] | None
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    proprio_names: tuple[str, ...] = ()
    variation: bool | tuple[str, ...] = False
    varied_frames: bool | tuple[str, ...] = False
    strength: float = 1.0
    policy: str = "exploration"
    policy_options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def shard_episodes(self, shard: int) -> range:
        """The episodes of one shard, whoever collects it."""
        first = shard * self.episodes_per_shard
        return range(first, min(first + self.episodes_per_shard, self.episodes))

    @property
    def num_shards(self) -> int:
        """Shards in the whole data set."""
        return -(-self.episodes // self.episodes_per_shard)

    def write(self, folder: Path) -> None:
        """Write meta.json into `folder`, with a check of its content."""
        write_document(folder / "meta.json", {"format": FORMAT, "format_version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> StoreMeta:
        """Read meta.json from `folder`.

        Raises:
            DataError: where it is damaged, foreign or of a newer version.
        """
        path = folder / "meta.json"
        try:
            document: dict[str, Any] = json.loads(path.read_bytes())
            checksum = document.pop("sha256", None) if isinstance(document, dict) else None
            found = json_hash(document)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not valid JSON ({error}); collect again into another folder") from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DataError(f"{path} does not describe a wmplan data set")
        if checksum is not None and checksum != found:  # older versions wrote none
            raise DamagedError(
                f"{path} is not what was written: put it back, or, if it was edited on purpose, delete its entry sha256"
            )
        del document["format"]
        if document.pop("format_version", None) != VERSION:
            raise DataError(f"{path} has another format version than this wmplan's, {VERSION}")
        try:
            meta = build(cls, document)
        except UserError as error:
            raise DataError(f"{path} has wrong or missing entries: {error}") from None
        if meta.episodes < 1 or meta.episodes_per_shard < 1:
            raise DataError(f"{path} has wrong entries: episodes and episodes_per_shard must be at least 1")
        return meta


def write_document(path: Path, document: dict[str, Any]) -> None:
    """write_file() of JSON with a checksum as its last entry.

    Raises:
        DataError: as write_file().
    """
    checked = {**document, "sha256": json_hash(document)}
    write_file(path, (json.dumps(checked, indent=1) + "\n").encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that after a crash at any moment it is there whole or not at all.

    Raises:
        DataError: when the disk is full or the file may not be written; nothing is left behind.
    """
    try:
        write_durably(path, lambda file: file.write(content))
    except OSError as error:
        raise DataError(
            f"could not write {path} ({len(content) / 1e6:.1f} MB): {error.strerror}; what was written before is "
            "intact, so make room and run the same command again"
        ) from None
