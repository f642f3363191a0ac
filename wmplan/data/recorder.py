"""What robots saw and did, written as episodes that training takes: every one a shard, saved while it grows.

The robot's thread only copies a frame into a bounded queue. A thread of the recorder compresses and saves: a kill costs
what came in the last `save_seconds`, and whatever goes wrong with the disk ends the recording, never the robot.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import remove_leftovers
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard import Shard
from wmplan.data.shard_writer import EpisodeWriter
from wmplan.data.store import shard_path

log = logging.getLogger(__name__)

ONE = "pixels"
"""The column of the frames of one camera alone, whatever its name: what training takes where nothing is said."""
POLICY = "recorded"
"""What the data set's meta.json says chose the actions."""
QUEUE_BYTES = 1 << 26
"""Frames that wait for the recorder's thread at most; what comes beyond them is dropped."""
EPISODE_BYTES, LEAST_ROWS = 1 << 26, 200
"""Frames of one episode before another begins: saving it again and again has to stay cheap."""
GB = 1e9


Layout = tuple[dict[str, tuple[int, ...]], int | None]
"""Shapes of the frames by column, and how many numbers the robot's state has: every row of a data set has the same."""


class Seen(NamedTuple):
    """What a robot saw at one robot step: frames (H, W, 3) by column, and its own state (P,) where it is told."""

    frames: dict[str, NDArray[np.uint8]]
    proprio: NDArray[np.float32] | None

    @property
    def layout(self) -> Layout:
        shapes = {column: frame.shape for column, frame in self.frames.items()}
        return shapes, None if self.proprio is None else len(self.proprio)

    @property
    def nbytes(self) -> int:
        return sum(frame.nbytes for frame in self.frames.values())

    @property
    def are_frames(self) -> bool:
        return all(frame.dtype == np.uint8 and frame.ndim == 3 for frame in self.frames.values())

    @property
    def is_finite(self) -> bool:
        return self.proprio is None or bool(np.isfinite(self.proprio).all())


@dataclass
class Counts:
    """What came of what robots saw.

    Attributes:
        rows, episodes: that were saved.
        dropped: frames that came faster than they could be written.
        gaps: times that an episode was cut because a robot step had no frame.
        refused: frames that no data set can hold beside the others: another size, or numbers that are not finite.
    """

    rows: int = 0
    episodes: int = 0
    dropped: int = 0
    gaps: int = 0
    refused: int = 0


@dataclass(eq=False)
class _Episode:
    """An episode that grows. Its rows up to the last are in `writer`; the last one's action is not known yet.

    Attributes:
        seen, done: rows that are not saved, from the last saved one on, and the actions between them.
        spare: a later frame of the last row's robot step.
    """

    writer: EpisodeWriter | None = None
    seen: list[Seen] = field(default_factory=list)
    done: list[NDArray[np.float32]] = field(default_factory=list)
    spare: Seen | None = None
    rows: int = 0

    def add(self, seen: Seen, executed: NDArray[np.float32]) -> bool:
        """Take a frame, n robot steps after the one before; False where one of those steps has no frame.

        Cameras jitter: of two frames that fall into one robot step and none into the next, the second is that one's.
        """
        if not self.seen:
            self.seen.append(seen)
            self.rows = 1
            return True
        if not len(executed):
            self.spare = seen
            return True
        if len(executed) == 2 and self.spare is not None:
            self.seen.append(self.spare)
            self.done.append(executed[0])
            self.rows, executed = self.rows + 1, executed[1:]
        if len(executed) != 1:
            return False
        self.seen.append(seen)
        self.done.append(executed[0])
        self.rows, self.spare = self.rows + 1, None
        return True

    @property
    def is_full(self) -> bool:
        return self.rows >= max(LEAST_ROWS, EPISODE_BYTES // self.seen[-1].nbytes)

    def take(self) -> dict[str, NDArray[Any]]:
        """Columns of the rows that are not saved, the first in place of the last that is."""
        unknown = np.full_like(self.done[0], np.nan)
        columns: dict[str, NDArray[Any]] = {
            name: np.stack([one.frames[name] for one in self.seen]) for name in self.seen[0].frames
        }
        columns["action"] = np.stack([*self.done, unknown])
        if self.seen[0].proprio is not None:
            columns["proprio"] = np.stack([one.proprio for one in self.seen if one.proprio is not None])
        self.seen, self.done = self.seen[-1:], []
        return columns


class _Item(NamedTuple):
    """One thing for the recorder's thread; `seen` is None at an episode's end."""

    stream: EpisodeStream
    seen: Seen | None
    executed: NDArray[np.float32]


class EpisodeStream:
    """One robot's side of a recorder. Neither call waits, and neither raises for what a disk does.

    Args:
        cameras: whose frames are recorded; None for all that come.
    """

    def __init__(self, recorder: Recorder, cameras: Sequence[str] | None = None) -> None:
        self._recorder, self._cameras = recorder, cameras
        self._was_cut = False  # something was dropped: what comes next does not follow what came before
        self.episode = _Episode()

    def see(
        self,
        frames: NDArray[np.uint8] | Mapping[str, NDArray[np.uint8]],
        proprio: NDArray[Any] | None,
        executed: NDArray[np.float32],
    ) -> None:
        """Frames after `executed` (n, a): what the robot did since those before, one row a step.

        An episode needs frames every robot step: where n is more than 1 it ends, and another begins.

        Args:
            frames: (H, W, 3) by camera; one alone is the column `pixels`, several are columns of their names.
        """
        own = None if proprio is None else np.array(proprio, np.float32)
        item = _Item(self, Seen(self._columns(frames), own), np.array(executed, np.float32))
        if self._was_cut and not self._recorder._put(_Item(self, None, item.executed)):
            return
        self._was_cut = not self._recorder._put(item)

    def _columns(self, frames: NDArray[np.uint8] | Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
        """Copies of the frames that are recorded, by column."""
        if not isinstance(frames, Mapping):
            return {ONE: np.array(frames)}
        names = [name for name in self._cameras or frames if name in frames]
        alone = len(self._cameras or names) == 1
        return {ONE if alone else name: np.array(frames[name]) for name in names}

    def end(self) -> None:
        """The episode ends here: what is seen next has nothing to do with it."""
        self._was_cut = not self._recorder._put(_Item(self, None, np.empty((0, 0), np.float32)))


class Recorder:
    """Writes what robots see and do into one folder, a data set that `wmplan train` takes.

    A recording that is begun again in the same folder adds episodes. An episode ends where the robot's goal changes, it
    is reset, a frame is missing, or it has grown large.

    Args:
        folder: of the data set.
        action_low, action_high: bounds of an action (a,), in the robot's units.
        control_rate: robot steps in a second.
        task: Gymnasium id of the task, where there is one.
        limit_gb: size of the folder, in 10^9 bytes, at which the recording stops: nothing is ever deleted for it.
        save_seconds: how often what came is saved.

    Attributes:
        counts: what came of what was seen.
        stopped: why nothing is recorded any more; None while it goes on.

    Raises:
        DataError: where the folder holds something else, is another process's recording, or cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        action_low: Sequence[float],
        action_high: Sequence[float],
        control_rate: float,
        task: str | None = None,
        limit_gb: float = 20.0,
        save_seconds: float = 5.0,
    ) -> None:
        if not 0 < limit_gb < float("inf"):
            raise DataError(f"record_gb must be above 0 and finite, got {limit_gb}")
        self.folder, self.limit_gb, self.save_seconds = Path(folder), limit_gb, save_seconds
        self.meta = StoreMeta(
            task=task,
            seed=None,
            episodes=0,
            steps=None,
            episodes_per_shard=1,
            control_rate=float(control_rate),
            image_size=None,
            action_low=tuple(map(float, action_low)),
            action_high=tuple(map(float, action_high)),
            policy=POLICY,
            versions={name: version(name) for name in ("wmplan", "numpy")},
        )
        self.counts, self.stopped = Counts(), None  # type: Counts, str | None
        self._layout: Layout | None = None
        self._open()
        self._episodes: set[_Episode] = set()
        self._queue: deque[_Item] = deque()
        self._waiting = 0  # bytes in the queue
        self._changed = threading.Condition()
        self._ending = self._busy = self._saves_now = False
        self._thread = threading.Thread(target=self._run, name="wmplan recording", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def stream(self, cameras: Sequence[str] | None = None) -> EpisodeStream:
        """For one more robot, of whose frames those of `cameras` are recorded, or all that come."""
        return EpisodeStream(self, cameras)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until all that came is on the disk."""
        with self._changed:
            self._saves_now = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not (self._queue or self._busy or self._saves_now) or not self._thread.is_alive(), timeout
            )

    def close(self, timeout: float = 30.0) -> None:
        """Save all that came, and end."""
        with self._changed:
            was_over, self._ending = self._ending, True
            self._changed.notify_all()
        self._thread.join(timeout)
        atexit.unregister(self.close)
        if not was_over:
            self._lock.close()
            log.info("%s", self.line())

    def line(self) -> str:
        """What was recorded and what was not, in one line."""
        counts = self.counts
        lost = [
            f"{number} {what}"
            for number, what in (
                (counts.dropped, "frames dropped (the disk is too slow)"),
                (counts.gaps, "gaps (a robot step without a frame)"),
                (counts.refused, "frames refused (other cameras or sizes, or not finite)"),
            )
            if number
        ]
        lost += [f"stopped: {self.stopped}"] if self.stopped else []
        size = self._bytes / GB
        told = f"recorded {counts.rows} rows in {counts.episodes} episodes, {self.folder} has {size:.2f} GB"
        return "; ".join([told, *lost])

    # ------------------------------------------------------------------ the robots' side

    def _put(self, item: _Item) -> bool:
        """Whether there was room for it."""
        size = 0 if item.seen is None else item.seen.nbytes
        with self._changed:
            if self.stopped is not None or self._ending:
                return False
            if self._waiting + size > QUEUE_BYTES:
                self.counts.dropped += 1
                first = self.counts.dropped == 1
            else:
                self._queue.append(item)
                self._waiting += size
                self._changed.notify_all()
                return True
        if first:
            log.warning("recording: frames come faster than %s takes them, some are dropped", self.folder)
        return False

    # ------------------------------------------------------------------ the folder

    def _open(self) -> None:
        """Take the folder, and find out what is there."""
        shards = self.folder / "shards"
        try:
            shards.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "recording.lock", "w")  # noqa: SIM115  # held as long as the recording
        except OSError as error:
            raise DataError(f"record={self.folder} cannot be written into: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise DataError(f"record={self.folder} is being recorded into by another process") from None
        try:
            self._count = self._episodes_there()
        except BaseException:
            self._lock.close()
            raise
        self._bytes = sum(path.stat().st_size for path in shards.glob("*.h5"))

    def _episodes_there(self) -> int:
        """How many episodes the folder has; it must hold nothing but a recording of the same robot."""
        if (self.folder / "meta.json").is_file():
            before = StoreMeta.read(self.folder)
            for name in ("policy", "task", "control_rate", "action_low", "action_high"):
                old, new = getattr(before, name), getattr(self.meta, name)
                if old != new:
                    raise DataError(
                        f"record={self.folder} holds data with {name} {old}, not {new}: give another folder"
                    )
        elif any(path.name != "recording.lock" for path in self.folder.iterdir() if path.name != "shards"):
            raise DataError(f"record={self.folder} is not empty and holds no recording: give another folder")
        remove_leftovers(self.folder)
        count = 0
        while shard_path(self.folder, count).is_file():
            count += 1
        if count:
            first = Shard(shard_path(self.folder, 0))
            proprio = first.columns.get("proprio")
            frames = {name: shape for name, (shape, _) in first.columns.items() if len(shape) == 3}
            self._layout = dict[str, tuple[int, ...]](frames), None if proprio is None else proprio[0][0]
            first.close()
        return count

    # ------------------------------------------------------------------ the recorder's thread

    def _run(self) -> None:
        try:
            saved = time.monotonic()
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._queue or self._ending or self._saves_now,
                        max(0.0, saved + self.save_seconds - time.monotonic()),
                    )
                    items, self._queue, self._waiting = self._queue, deque(), 0
                    ends, now, self._saves_now, self._busy = self._ending, self._saves_now, False, True
                for item in items:
                    self._take(item)
                if ends or now or time.monotonic() - saved >= self.save_seconds:
                    for episode in list(self._episodes):
                        self._save(episode)
                    saved = time.monotonic()
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    if ends and not self._queue:
                        return
        except Exception as error:  # the robot goes on, whatever this is
            self._stop(str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}")

    def _stop(self, why: str) -> None:
        with self._changed:
            self.stopped, self._busy = why, False
            self._queue.clear()
            self._episodes.clear()
            self._changed.notify_all()
        log.warning("recording stopped: %s", why)

    def _take(self, item: _Item) -> None:
        if self.stopped is not None:
            return
        stream = item.stream
        if item.seen is None:
            self._end(stream)
            return
        if not item.seen.is_finite or not np.isfinite(item.executed).all() or not self._fits(item.seen):
            self.counts.refused += 1
            if self.counts.refused == 1:
                log.warning(
                    "recording: a frame was left out: of other cameras or another size than the others, or not finite"
                )
            self._end(stream)
            return
        if not stream.episode.add(item.seen, item.executed):
            self.counts.gaps += 1
            if self.counts.gaps == 1:
                log.warning(
                    "recording: %d robot steps between two frames, and an episode needs a frame every step: it is cut "
                    "there (record where the camera is, or ask for a plan every step)",
                    len(item.executed),
                )
            self._end(stream)
            stream.episode.add(item.seen, item.executed)
        self._episodes.add(stream.episode)
        if stream.episode.is_full:
            self._end(stream)
            stream.episode.add(item.seen, item.executed)  # the last frame begins the next one

    def _fits(self, seen: Seen) -> bool:
        if self._layout is None and seen.frames and seen.are_frames:
            self._layout = seen.layout
        return seen.layout == self._layout and seen.are_frames

    def _end(self, stream: EpisodeStream) -> None:
        self._save(stream.episode)
        self._episodes.discard(stream.episode)
        stream.episode = _Episode()

    def _save(self, episode: _Episode) -> None:
        """Put the episode's new rows on the disk."""
        if not episode.done or self.stopped is not None:
            return
        if self._bytes >= self.limit_gb * GB:
            self._stop(f"{self.folder} has {self._bytes / GB:.2f} GB, its limit is {self.limit_gb:g} (record_gb)")
            return
        is_new = episode.writer is None
        before = 0 if is_new or episode.writer is None else episode.writer.path.stat().st_size
        rows = len(episode.done)
        columns = episode.take()
        if episode.writer is None:
            episode.writer = EpisodeWriter(shard_path(self.folder, self._count))
            episode.writer.add(self._count, columns)
            self._count += 1
        else:
            episode.writer.extend(columns)
        episode.writer.save()
        self._bytes += episode.writer.path.stat().st_size - before
        self.counts.rows += rows + is_new
        if is_new:
            self.counts.episodes += 1
            height, width = next(iter(columns.values())).shape[1:3]  # of the first camera
            self.meta = replace(self.meta, episodes=self._count, image_size=(height, width))
            self.meta.write(self.folder)
