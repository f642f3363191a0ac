"""Files of the hub's cache, which calls them by their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wmplan.models import CheckpointError, load
from wmplan.models.loading import SHIPPED
from wmplan.models.released.hub import check_download


def cached(folder: Path, name: str, content: bytes, git: bool = False) -> Path:
    """A file as the hub's cache keeps it: a link to a blob that is called by its hash."""
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content) if git else hashlib.sha256(content)
    blob = folder / "blobs" / digest.hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = folder / "snapshots" / "main" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    return link


@pytest.mark.parametrize("git", [False, True])
def test_a_download_that_changed_on_the_disk_is_noticed(tmp_path: Path, git: bool) -> None:
    file = cached(tmp_path, "weights.pt", b"some weights", git)
    check_download(file)
    file.resolve().write_bytes(b"some weightz")
    with pytest.raises(CheckpointError, match=r"weights.pt is damaged: it is not what was downloaded; delete .*blobs"):
        check_download(file)


def test_gits_hash_is_that_of_git() -> None:
    """`echo -n 'hello' | git hash-object --stdin`, so that the names of small files are understood."""
    content = b"hello"
    assert hashlib.sha1(b"blob 5\0" + content).hexdigest() == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("weights.pt", "a" * 64, "blobs"):
        (tmp_path / name).write_bytes(b"x")
        check_download(tmp_path / name)


def test_a_damaged_download_is_not_loaded(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "x.safetensors")
    file = cached(tmp_path, "weights.safetensors", (tmp_path / "x.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="of no model that wmplan knows"):
        load(file)
    blob = file.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="it is not what was downloaded"):
        load(file)


@pytest.mark.parametrize("name", ["hf://org/name", "hf://org/name/weights.safetensors"])
def test_names_on_the_hub_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A cache as the hub's library keeps it, read without the network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository, commit = tmp_path / "models--org--name", "0" * 40
    for file in (SHIPPED / "pusht").glob("*.[js]*"):
        link = cached(repository, file.name, file.read_bytes(), git=file.suffix == ".json")
        (repository / "snapshots" / commit).mkdir(exist_ok=True)
        link.rename(repository / "snapshots" / commit / file.name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert torch.equal(
        load(name, "cpu").state_dict()["predictor.read_layers.3.weight"],
        load("pusht", "cpu").state_dict()["predictor.read_layers.3.weight"],
    )
    for file in ("config.json", "weights.safetensors"):
        blob = (repository / "snapshots" / commit / file).resolve()
        whole = blob.read_bytes()
        blob.write_bytes(whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:])
        with pytest.raises(
            CheckpointError, match="not what was downloaded|not the weights file that|not have the SHA-256"
        ):
            load("hf://org/name", "cpu")
        blob.write_bytes(whole)
