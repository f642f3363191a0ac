"""Latents of a whole data set, computed once and kept in a file; a kill loses at most half a minute of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.checked import check, write_checked
from wmplan.data.reader import Reader
from wmplan.interruption import Interrupted, Interruption
from wmplan.training.identity import require_made_from
from wmplan.training.stage import SAVE_SECONDS

Latents = NDArray[np.float32]


def cached_latents(
    path: Path,
    made_from: Mapping[str, Any],
    store: Reader,
    latent_shape: tuple[int, ...],
    encode: Callable[[int], Latents],
    clean: bool = True,
) -> Latents:
    """Latents of every row of a data set, of shape (rows, *latent): from the file where it is there, else encoded.

    Args:
        path: of the .npy file; parts that are done lie beside it until all are.
        made_from: what the latents depend on, as JSON has it.
        encode: the latents (episode rows, *latent) of one episode.
        clean: remove the parts where the whole is there; another process of the run does it otherwise.

    Raises:
        UserError: where the file or a part is damaged or was made from something else, or the disk is full.
        Interrupted: after SIGINT or SIGTERM, when what is done is saved.
    """
    parts = sorted(path.parent.glob(f"{path.stem}.part-*.npy"))
    if path.exists():
        require_made_from(path, check(path), made_from)
        latents = np.load(path)
    else:
        latents = encode_all(path, parts, made_from, store, latent_shape, encode)
        write_checked(path, lambda file: np.save(file, latents), made_from)
    for part in path.parent.glob(f"{path.stem}.part-*.npy") if clean else ():
        part.unlink()
    return latents


def encode_all(
    path: Path,
    parts: list[Path],
    made_from: Mapping[str, Any],
    store: Reader,
    latent_shape: tuple[int, ...],
    encode: Callable[[int], Latents],
) -> Latents:
    """As cached_latents(), where there is no whole file; goes on after the parts."""
    latents = np.empty((store.num_rows, *latent_shape), np.float32)
    ends = np.cumsum(store.lengths)
    done, saved = 0, 0  # rows
    for part in parts:
        require_made_from(part, check(part), {**made_from, "first_row": saved})
        rows = np.load(part)
        latents[saved : saved + len(rows)] = rows
        done = saved = saved + len(rows)

    def save() -> None:
        part = path.with_name(f"{path.stem}.part-{saved:010d}.npy")
        write_checked(part, lambda file: np.save(file, latents[saved:done]), {**made_from, "first_row": saved})

    first = int(np.searchsorted(ends, done, side="right"))
    bar = tqdm(
        total=store.num_rows, initial=done, desc=path.stem, unit="frame", disable=None, dynamic_ncols=True
    )  # fmt: skip
    with bar, Interruption() as interruption:
        since = time.monotonic()
        for index in range(first, len(store)):
            stop = int(ends[index])
            latents[done:stop] = encode(index)
            bar.update(stop - done)
            done, asked = stop, interruption.signal
            if asked or time.monotonic() - since >= SAVE_SECONDS:
                save()
                saved, since = done, time.monotonic()
            if asked:
                raise Interrupted(
                    f"the latents of {index + 1} of {len(store)} episodes are saved, the same command goes on there",
                    asked,
                )
    return latents
