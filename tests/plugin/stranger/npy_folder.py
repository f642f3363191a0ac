"""A folder with one .npz an episode."""

import numpy as np

import wmplan
from wmplan.data import Reader
from wmplan.data.formats import describe


@wmplan.register_reader("npy_folder")
class NpyFolder(Reader):
    @classmethod
    def recognises(cls, path):
        return path.is_dir() and any(path.glob("*.npz"))

    def __init__(self, path, task):
        self.files = sorted(path.glob("*.npz"))
        self.episodes = [dict(np.load(file)) for file in self.files]
        self.lengths = np.array([len(episode["action"]) for episode in self.episodes])
        self.columns = {name: (values.shape[1:], values.dtype) for name, values in self.episodes[0].items()}
        self.meta = describe(self, task)

    def read(self, episode, name, start, stop):
        return self.episodes[episode][name][start:stop]
