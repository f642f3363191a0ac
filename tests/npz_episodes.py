"""A stranger's format: a folder of EPISODE.npz, each with the columns of one episode, and a reader of it."""

from pathlib import Path
from typing import Any

import numpy as np

import wmplan
from wmplan.data.formats import describe
from wmplan.data.reader import Reader


@wmplan.register_reader("npz_episodes")
class NpzEpisodes(Reader):
    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and any(path.glob("*.npz"))

    def __init__(self, path: Path, task: str | None) -> None:
        self.files = sorted(path.glob("*.npz"))
        shapes = [self.load(index) for index in range(len(self.files))]
        self.lengths = np.array([len(episode["action"]) for episode in shapes])
        self.columns = {name: (values.shape[1:], values.dtype) for name, values in shapes[0].items()}
        self.meta = describe(self, task)

    def load(self, episode: int) -> dict[str, Any]:
        with np.load(self.files[episode]) as content:
            return {name: content[name] for name in content.files}

    def read(self, episode: int, name: str, start: int, stop: int) -> Any:
        return self.load(episode)[name][start:stop]


def write(folder: Path, episodes: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    for number, columns in enumerate(episodes):
        np.savez(folder / f"{number:03d}.npz", **columns)
    return folder
