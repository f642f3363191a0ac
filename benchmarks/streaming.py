"""How fast windows of frames come from the disk, beside how fast the joint stage of training takes them.

    python benchmarks/streaming.py [--side 96] [--episodes 40] [--gigabytes 50] [--out benchmarks/results]

The data is made: a textured scene that moves, with a sensor's noise, which compresses as little as a camera's frames.
It is written as shards, as HDF5 without compression, and as LeRobot's videos (which need the extra `data`). The first
two have hard links of their files beside them, until the set is as large as --gigabytes says, so that episodes are
drawn from as many as in a real one. What the machine remembers of the files is dropped before each is read.

Every format is read in a process of its own by the joint stage's window sampler, from the disk whatever the size, for
two groups of episodes; frames are those handed out in windows. What training takes is measured in the same way, on
the same machine. Times are of the wall and, as other programs may run meanwhile, of the process's own processors.
Writes streaming.json and streaming.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably, write_json
from wmplan.data import WindowSampler, open_data
from wmplan.data.conversion import convert_data
from wmplan.data.shard_writer import EpisodeWriter
from wmplan.errors import UserError
from wmplan.evaluation.machine import machine

ROWS, SHARD = 150, 40  # rows of an episode, episodes of a file
FRAMES, STRIDE, BATCH = 4, 5, 80  # the windows of the joint stage, as they are by default
GROUPS, GROUP = 2, 128  # that are read, and episodes in one
NOISE = 2.0  # deviation of a pixel, in grey levels


def episode(number: int, side: int) -> dict[str, NDArray[Any]]:
    """One episode: crops of a texture along a way."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(40, 215, (16, 16, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
    noise = rng.normal(0, NOISE, (16, side, side, 3))
    action = rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    way = np.clip(np.cumsum(action, 0) + 20, 0, side - 1).astype(int)
    frames = [coarse[y : y + side, x : x + side] + noise[row % 16] for row, (y, x) in enumerate(way)]
    action[-1] = np.nan
    return {"pixels": np.array(frames).astype(np.uint8), "action": action, "proprio": way.astype(np.float32)}


def make(folder: Path, episodes: int, side: int, gigabytes: float) -> dict[str, Path]:
    """The data in every format that can be written here."""
    shards, plain, one = folder / "shards", folder / "hdf5", folder / "one"
    for path in (shards, plain, one):
        path.mkdir()
    files = max(1, episodes // SHARD)
    for file in range(files):
        rows = [episode(number, side) for number in range(file * SHARD, (file + 1) * SHARD)]
        writer = EpisodeWriter(shards / f"{file:05d}.h5")
        for number, columns in enumerate(rows):
            writer.add(number, columns)
        writer.save()
        os.link(shards / f"{file:05d}.h5", one / f"{file:05d}.h5")
        with h5py.File(plain / f"{file:05d}.h5", "w") as raw:
            for name in rows[0]:
                raw[name] = np.concatenate([columns[name] for columns in rows])
            raw["ep_len"], raw["ep_offset"] = np.full(SHARD, ROWS), ROWS * np.arange(SHARD)
    copies = max(1, round(gigabytes * 1e9 / (files * SHARD * ROWS * side * side * 3)))
    for copy in range(1, copies):
        for file in range(files):
            for path in (shards, plain):
                os.link(path / f"{file:05d}.h5", path / f"{copy * files + file:05d}.h5")
    found = {"one": one, "shards": shards, "hdf5": plain}
    try:
        convert_data(str(one), str(folder / "lerobot"), "lerobot", control_rate=10)
        found["lerobot"] = folder / "lerobot"
    except UserError as error:
        print(f"left out: {error}", file=sys.stderr)
    return found


def forget(folder: Path) -> None:
    """Drop what the machine remembers of the files."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


class Timer:
    """Seconds since it was made, of the wall and of this process."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Wall and processor."""
        return time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]


def read(folder: Path) -> dict[str, Any]:
    """What the sampler gives of a data set."""
    forget(folder)
    with contextlib.closing(open_data(folder)) as store:
        sampler = WindowSampler(store, FRAMES, STRIDE, BATCH, memory=False, group=GROUP)
        windows = GROUPS * GROUP * (ROWS - (FRAMES - 1) * STRIDE)
        timer, frames = Timer(), 0
        for number, batch in enumerate(sampler, start=1):
            frames += batch["pixels"].shape[0] * batch["pixels"].shape[1]
            if number * BATCH >= min(windows, sampler.num_windows - BATCH):
                break
        wall, cpu = timer.seconds()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = int(np.prod(store.columns["pixels"][0])) * store.num_rows
    return {
        "gigabytes": size / 1e9,
        "frames_per_second": frames / wall,
        "frames_per_cpu_second": frames / cpu,
        "peak_mb": peak / 1e3,
    }


def consume(folder: Path) -> dict[str, Any]:
    """What the joint stage takes, with its default model."""
    from wmplan.training.config import TrainConfig
    from wmplan.training.estimate import SameBatch, made_up_batch
    from wmplan.training.train import Run

    with tempfile.TemporaryDirectory() as out:
        run = Run(TrainConfig(data=str(folder), out=out, control_rate=10))
        batch = made_up_batch(run.windows["joint"], run.model, run.columns("joint"))
        stage = run.make_stage("joint", SameBatch(batch))
        stage.module.train()
        stage.one_step(batch)
        timer, steps = Timer(), 3
        for _ in range(steps):
            stage.one_step(batch)
        wall, cpu = timer.seconds()
        run.store.close()
    frames = steps * BATCH * FRAMES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"frames_per_second": frames / wall, "frames_per_cpu_second": frames / cpu, "peak_mb": peak}


def measured(what: str, folder: Path) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, f"--{what}", str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=96, help="pixels of a frame's side, a multiple of 8")
    parser.add_argument("--episodes", type=int, default=40, help="that are made, a multiple of 40")
    parser.add_argument("--gigabytes", type=float, default=50.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--consume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read or options.consume:
        print(json.dumps(read(options.read) if options.read else consume(options.consume)))
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:  # beside the code, as /tmp may be memory
        sets = make(Path(folder), options.episodes, options.side, options.gigabytes)
        taken = measured("consume", sets.pop("one"))
        found = {name: measured("read", path) for name, path in sets.items()}
    result = {"side": options.side, "training": taken, "formats": found, "machine": machine(1)}
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "streaming.json", result, indent=1)
    rows = [
        [
            name,
            f"{one['gigabytes']:.1f}",
            f"{one['frames_per_second']:.0f}",
            f"{one['frames_per_second'] / taken['frames_per_second']:.1f}",
            f"{one['frames_per_cpu_second'] / taken['frames_per_cpu_second']:.1f}",
            f"{one['peak_mb']:.0f}",
        ]
        for name, one in found.items()
    ]
    head = ["format", "GB", "frames/s", "x training", "x training, processor time", "peak MB"]
    lines = [head, ["---"] * len(head), *rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text += f"\nTraining takes {taken['frames_per_second']:.0f} frames/s of {options.side} x {options.side} pixels.\n"
    write_durably(options.out / "streaming.md", lambda file: file.write(text.encode()))
    print(text)


if __name__ == "__main__":
    main()
