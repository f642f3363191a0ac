"""Possible clips of an exam as a data set: what a model may be trained on before it sits that exam."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.data.collection import saved_episodes
from wmplan.data.meta import StoreMeta
from wmplan.data.shard_writer import EpisodeWriter
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.exam.examine import MOST_PAIRS, asked_for, quadruplets
from wmplan.exam.quadruplet import ExamSource, Quadruplet
from wmplan.interruption import Interrupted, Interruption
from wmplan.output_folder import make_folder
from wmplan.random_streams import Stream
from wmplan.registry import EXAMS
from wmplan.settings.numbers import MAX_SEED, require_image_size, whole_number

CLIPS = 3
"""Of a pair: both worlds from beginning to end, and one with a legal change of light and colours."""
PAIRS_IN_SHARD = 20
LARGEST_SIDE = 2048
"""Of a frame, in pixels."""


def export_clips(
    out: str | Path,
    *,
    exam: str = "scenes",
    properties: Sequence[str] = (),
    pairs: int = 100,
    seed: int = 0,
    image_size: tuple[int, int] = (64, 64),
) -> EpisodeStore:
    """Draw the possible clips of pairs that occur in no exam, each an episode of a data set.

    They come from a stream of random numbers of their own: no seed makes the exam show one of them. More pairs than
    are there are added to those.

    Args:
        out: folder of the data set.
        exam: where clips come from.
        properties: names of those whose pairs are drawn; none for all that the exam has.
        pairs: pairs of worlds a property; each gives three clips.
        seed: of the pairs.
        image_size: (height, width) of the frames in pixels.

    Raises:
        UserError: naming what is wrong with the settings.
        DataError: where the folder holds something else.
        Interrupted: after Ctrl-C or SIGTERM, once the pair under way is drawn; the same call goes on.
    """
    pairs, seed = whole_number(pairs, "pairs", 1, MOST_PAIRS), whole_number(seed, "seed", 0, MAX_SEED)
    require_image_size(image_size, 8, LARGEST_SIDE)
    folder = Path(out)
    make_folder(folder)
    with contextlib.closing(EXAMS[exam](image_size)) as source:
        asked = asked_for(properties, source)
        meta = _describe(source, exam, asked, pairs, seed, image_size)
        saved = saved_episodes(folder, meta)
        (folder / "shards").mkdir(exist_ok=True)
        meta.write(folder)
        with (
            Interruption() as interruption,
            tqdm(total=meta.episodes, initial=sum(saved), desc="clips", unit="clip", disable=None) as bar,
        ):
            for shard in range(meta.num_shards):
                episodes = meta.shard_episodes(shard)
                if saved[shard] == len(episodes):
                    continue
                writer = EpisodeWriter(shard_path(folder, shard))
                for pair in range(episodes.start // CLIPS, episodes.stop // CLIPS):
                    name, index = asked[pair % len(asked)], pair // len(asked)
                    (drawn,) = quadruplets(source, name, [index], seed, Stream.EXAM_TRAINING)
                    for clip, (frames, actions) in enumerate(possible(drawn)):
                        writer.add(CLIPS * pair + clip, {"pixels": frames, "action": actions})
                    bar.update(CLIPS)
                    if interruption.signal:
                        where = (
                            f"{shard} of {meta.num_shards} files of {folder} are whole, the same command goes on there"
                        )
                        raise Interrupted(where, interruption.signal)
                writer.save()
    return EpisodeStore.open(folder)


def possible(pair: Quadruplet) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Frames (T, H, W, 3) and actions (T, a) of the possible clips; without a robot the action is a single 0.

    As in every data set here the last row's action, of which no frame shows what came, is NaN.
    """
    length = pair.frames.shape[1]
    none = np.zeros((2, length, 1), np.float32)
    actions = (none if pair.actions is None else pair.actions.astype(np.float32)).copy()
    actions[:, -1] = np.nan
    yield from zip(pair.frames, actions, strict=True)
    yield pair.recoloured, actions[0]


def _describe(
    source: ExamSource, exam: str, asked: Sequence[str], pairs: int, seed: int, image_size: tuple[int, int]
) -> StoreMeta:
    count = max(source.action_dim, 1)
    return StoreMeta(
        task=None,
        seed=seed,
        episodes=CLIPS * pairs * len(asked),
        steps=source.length - 1,
        episodes_per_shard=CLIPS * PAIRS_IN_SHARD,
        control_rate=source.rate,
        image_size=image_size,
        action_low=(-1.0,) * count,
        action_high=(1.0,) * count,
        policy="exam",
        environment={"exam": exam, "properties": list(asked)},
        versions={name: version(name) for name in ("wmplan", "mujoco", "numpy")},
    )
