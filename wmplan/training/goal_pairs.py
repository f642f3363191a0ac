"""Pairs of a window and a goal that the same trajectory reaches later, for the critic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.data import WindowSampler
from wmplan.data.reader import Reader
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch


class GoalPairs:
    """The batches of a sampler of windows, each window with a goal from the rest of its episode.

    The goal's row is uniform between the window's newest context frame and the episode's end (uniform future goals, as
    in hindsight relabelling, Andrychowicz et al. 2017): gaps reach as far as an episode does, and short episodes give
    short ones. A goal may lie between model steps.

    A batch has, beside the window's columns, `goal` (N, L) and `steps` (N,), the model steps from that frame to it. The
    goals depend on the sampler's place in its order alone, so a stream that goes on has the same ones.

    Args:
        sampler: of the windows; it has to give the column `row`, the row in the data set of each frame.
        latents: of every row of the data set, (rows, L).
        store: that data set.
        newest: index of the newest context frame in a window.
        share: of each batch that is wanted: `goal` is of the whole batch in any case. The sampler gives that share, and
            `row` of the whole.
    """

    def __init__(
        self, sampler: WindowSampler, latents: NDArray[np.float32], store: Reader, newest: int, share: Share = WHOLE
    ) -> None:
        self.sampler, self.latents, self.newest, self.share = sampler, latents, newest, share
        self.ends = np.cumsum(store.lengths)

    def __iter__(self) -> Iterator[Batch]:
        place = self.place()
        for batch in self.sampler:
            rows = batch.pop("row")[:, self.newest].numpy()
            ends = self.ends[np.searchsorted(self.ends, rows, side="right")]
            goals = np.random.default_rng([self.sampler.seed, 0x60A1, *place]).integers(rows, ends)
            batch["goal"] = torch.from_numpy(self.latents[goals])
            steps = torch.from_numpy((goals - rows).astype(np.float32)) / self.sampler.stride
            batch["steps"] = self.share.own(steps)
            place = self.place()
            yield batch

    def place(self) -> tuple[int, int]:
        """Epoch and batch that come next."""
        state = self.sampler.state_dict()
        return int(state["epoch"]), int(state["batch"])

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.sampler.load_state_dict(state)
