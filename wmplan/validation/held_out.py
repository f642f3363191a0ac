"""Which episodes of a data set a model was not trained on, from its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmplan.data.reader import Reader
from wmplan.data.sampler import split_episodes
from wmplan.errors import UserError
from wmplan.random_streams import Stream, stream_rng
from wmplan.settings.build import build
from wmplan.training.config import TrainConfig
from wmplan.training.windows import validation_rows


@dataclass(frozen=True)
class Choice:
    """The episodes that a model is judged on.

    Attributes:
        episodes: their numbers.
        held_out: whether no training saw them; None where nobody knows.
        said: why, in a sentence.
    """

    episodes: list[int]
    held_out: bool | None
    said: str


def choose_episodes(card: Mapping[str, Any], data: Reader, count: int, seed: int, rows: int) -> Choice:
    """At most `count` episodes of at least `rows` rows, drawn from the seed, held out where there are any such.

    Raises:
        UserError: if no episode is long enough.
    """
    long = np.flatnonzero(data.lengths >= rows)
    if not len(long):
        raise UserError(
            f"no episode of {data.name} has the {rows} rows that one prediction of this model takes; the longest has "
            f"{int(data.lengths.max(initial=0))}"
        )
    unseen, said = unseen_episodes(card, data)
    known = None if unseen is None else np.intersect1d(unseen, long)
    held_out: bool | None = None if known is None else bool(len(known))
    if known is not None and not len(known):
        said += (
            ", but none of those held out is long enough: the model was TRAINED on the episodes that it is judged on"
        )
    pool = long if known is None or not len(known) else known
    drawn = stream_rng(seed, Stream.VALIDATION).permutation(pool)[:count]
    return Choice(sorted(drawn.tolist()), held_out, said)


def unseen_episodes(card: Mapping[str, Any], data: Reader) -> tuple[np.ndarray[Any, Any] | None, str]:
    """Numbers of the episodes that no training saw, None where nobody knows; and why.

    Collected episodes depend on task, seed and their number alone, so that data of another seed was never seen. Of
    data without a seed, as recorded on a robot, equal numbers of episodes and rows count as the same data.
    """
    told, training = card.get("data") or {}, card.get("training") or {}
    if not told or not training:
        return None, "the model's card does not say what it was trained on: these episodes may be among it"
    meta, number = data.meta, told.get("episodes")
    if meta.seed is not None and told.get("seed") is not None and same_task(meta.task, card.get("task")):
        if meta.seed != told["seed"]:
            return np.arange(len(data)), f"the model was trained on data of seed {told['seed']}, this is of {meta.seed}"
    elif told.get("seed") is not None or meta.seed is not None:
        return np.arange(len(data)), "the model was trained on other data"
    elif (number, told.get("steps")) != (len(data), meta.steps):
        return None, "the model was trained on recorded data that may be this: its card cannot tell"
    try:
        config = build(TrainConfig, {**training, "data": "data", "out": "out"})
        needed = validation_rows(config)
    except (UserError, TypeError):
        return None, "this looks like the model's own training data, and its card does not say which were held out"
    seen = min(int(number or len(data)), len(data))
    if seen < 2:
        return None, "this looks like the model's own training data, of which one episode is here"
    _, held = split_episodes(seen, config.validation, usable=data.lengths[:seen] >= needed)
    unseen = np.concatenate([held, np.arange(seen, len(data))])
    return unseen, f"this is the model's own training data; {len(unseen)} of its {len(data)} episodes were held out"


def same_task(first: str | None, second: str | None) -> bool:
    """Whether two Gymnasium ids are of one task, whatever module registers it."""
    return (first or "").rpartition(":")[2] == (second or "").rpartition(":")[2]
