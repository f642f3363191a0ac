"""A fingerprint is of content: paths do not change it, bytes do, and what was hashed is not read again."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from wmplan.data import EpisodeStore
from wmplan.data import fingerprint as module
from wmplan.data.fingerprint import fingerprint
from wmplan.data.shard_writer import link_shards
from wmplan.training.fingerprint import tensors_hash

Write = Callable[..., Path]


def hashes(store: EpisodeStore) -> list[str]:
    return [entry["sha256"] for entry in fingerprint(store).values()]


def test_place_and_name_do_not_matter_content_does(write_public: Write, tmp_path: Path) -> None:
    path = write_public("data.h5", [8, 8])
    before = hashes(EpisodeStore.open(path))
    moved = shutil.copy(path, tmp_path / "elsewhere.h5")
    assert hashes(EpisodeStore.open(moved)) == before
    with h5py.File(path, "r+") as file:
        file["pixels"][3, 0, 0, 0] += 1
    assert hashes(EpisodeStore.open(path)) != before


def test_what_the_data_set_says_of_itself_counts(write_public: Write) -> None:
    store = EpisodeStore.open(write_public("data.h5", [8, 8]))
    before = hashes(store)
    store.meta = replace(store.meta, versions={"wmplan": "0"})
    assert hashes(store) == before
    store.meta = replace(store.meta, action_low=(-1.0, -1.0))
    assert hashes(store) != before


def test_files_are_read_again_only_if_they_were_written_to(
    write_public: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_public(f"data/{number}.h5", [8], seed=number)
    store, read = EpisodeStore.open(tmp_path / "data"), []
    hash_file = module.file_hash
    monkeypatch.setattr(module, "file_hash", lambda path, bar: read.append(path.name) or hash_file(path, bar))
    first = fingerprint(store)
    assert read == ["0.h5", "1.h5", "2.h5"] and list(first) == ["meta.json", *read]
    assert fingerprint(store, first) == first and len(read) == 3
    path = tmp_path / "data" / "1.h5"
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had happened
    second = fingerprint(store, first)
    assert read[3:] == ["1.h5"] and second["1.h5"]["sha256"] != first["1.h5"]["sha256"]


def test_the_shards_behind_a_virtual_data_set_count(write_public: Write, tmp_path: Path) -> None:
    from wmplan.data.shard import Shard

    shards = [write_public(f"shards/{number}.h5", [8], seed=number) for number in range(2)]
    for shard in shards:
        Shard(shard).close()
    link_shards(tmp_path / "all.h5", shards)
    store = EpisodeStore.open(tmp_path / "all.h5")
    before = fingerprint(store)
    assert [name for name in before if name != "meta.json"] == ["all.h5", "shards/0.h5", "shards/1.h5"]
    store.close()
    with h5py.File(shards[1], "r+") as file:
        file["action"][0] = np.float32(0.125)
    after = fingerprint(store)
    assert [name for name in before if before[name]["sha256"] != after[name]["sha256"]] == ["shards/1.h5"]


def test_weights_are_told_apart_by_name_type_shape_and_every_number() -> None:
    weights = {"a": torch.arange(6.0), "b": torch.tensor(1)}
    same = {"b": torch.tensor(1), "a": torch.arange(6.0)}
    assert tensors_hash(weights) == tensors_hash(same)
    changed = torch.arange(6.0)
    changed[3] = float(np.nextafter(np.float32(3), np.float32(4)))
    others = [
        {"a": changed},
        {"a": weights["a"].reshape(2, 3)},
        {"a": weights["a"].double()},
        {"a": weights["a"].requires_grad_() * -1},
        {"c": weights["a"]},
    ]
    found = {tensors_hash({"b": weights["b"], **other}) for other in others}
    assert len(found) == 5 and tensors_hash(weights) not in found
    assert tensors_hash({"a": torch.zeros(0)}) != tensors_hash({"a": torch.zeros(0, 3)})
