"""The content of a data set as hashes of its files, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.checked import json_hash
from wmplan.data.reader import Reader

Files = dict[str, dict[str, Any]]


def fingerprint(store: Reader, known: Mapping[str, Mapping[str, Any]] | None = None) -> Files:
    """Hash and stamp of every file of a data set, in the order of its episodes.

    Args:
        store: the data.
        known: an earlier answer. A file whose size and times are still those of then is not read again: writing to a
            file in place changes them.

    Returns:
        Name of each file below the data's folder -> its `sha256` and `stamp`; and under `meta.json` the hash of what
        the data set says of itself.
    """
    paths = store.files
    root = common_folder(paths)
    told = {name: value for name, value in asdict(store.meta).items() if name != "versions"}
    found: Files = {"meta.json": {"sha256": json_hash(json_ready(told)), "stamp": []}}
    stamps = {path: stamp(path) for path in paths}
    hashed = {tuple(entry["stamp"]): entry["sha256"] for entry in (known or {}).values() if entry["stamp"]}
    unread = sum(stamps[path][0] for path in paths if tuple(stamps[path]) not in hashed)
    with tqdm(total=unread, desc="hash of the data", unit="B", unit_scale=True, disable=None) as bar:
        for path in paths:
            key = tuple(stamps[path])
            digest = hashed[key] if key in hashed else file_hash(path, bar)
            found[path.relative_to(root).as_posix()] = {"sha256": digest, "stamp": stamps[path]}
    return found


def common_folder(paths: list[Path]) -> Path:
    """The innermost folder that holds all files."""
    folder = paths[0].parent
    while not all(path.is_relative_to(folder) for path in paths):
        folder = folder.parent
    return folder


def stamp(path: Path) -> list[int]:
    """What changes when a file is written to: size, times of content and of inode, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def file_hash(path: Path, bar: tqdm) -> str:
    """SHA-256 of a file, its bytes counted on a bar."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 22):
            digest.update(data)
            bar.update(len(data))
    return digest.hexdigest()


def json_ready(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every number that JSON cannot hold as text."""
    return {
        name: value if isinstance(value, str | int | bool | None) else repr(value) for name, value in content.items()
    }
