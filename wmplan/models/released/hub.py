"""Files named hf://org/name or hf://org/name/file, brought onto this machine or found in the cache."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from wmplan.errors import UserError
from wmplan.models.errors import CheckpointError
from wmplan.models.reading import readable
from wmplan.models.weights_file import file_sha256

PREFIX = "hf://"
SIZES = ["config.json", "hydra.yaml"]
FILES = ["config.json", "*.pt", "*.pth", "*.pth.tar", "*.safetensors", "hydra.yaml"]


def is_hub(name: str | Path) -> bool:
    """Whether the name is one of the hub's."""
    return str(name).startswith(PREFIX)


def local_path(name: str) -> Path:
    """The file or folder of hf://org/name[/file]; HF_HUB_OFFLINE=1 looks into the cache alone.

    Raises:
        UserError: when the name has no org or name, the extra is not installed, or the hub does not give it.
    """
    parts = name.removeprefix(PREFIX).strip("/").split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{name} must be hf://org/name or hf://org/name/file")
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError as error:
        raise UserError(f"{name} needs an extra: pip install 'wmplan[hf]'") from error
    repository, offline = "/".join(parts[:2]), os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    try:
        if len(parts) == 3:
            path = Path(hf_hub_download(repository, parts[2], local_files_only=offline))
        else:
            path = Path(snapshot_download(repository, allow_patterns=FILES, local_files_only=offline))
    except (OSError, ValueError) as error:  # what the hub's own errors derive from, network errors among them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{name} could not be had: {reason}") from error
    folder = path if path.is_dir() else path.parent
    for small in SIZES:  # the weights are checked when they are opened
        check_download(folder / small)
    return path


def check_download(file: Path) -> None:
    """Raise a CheckpointError where a file in the hub's cache is not what was downloaded; others are not looked at.

    The cache calls the file behind a link by the hub's hash: SHA-256 for large files, git's for small ones.
    """
    blob = file.resolve()
    if blob.parent.name != "blobs" or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return
    if len(blob.name) == 64:
        digest = file_sha256(blob)
    else:
        with readable(file):
            content = blob.read_bytes()
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if digest != blob.name:
        raise CheckpointError(f"{file} is damaged: it is not what was downloaded; delete {blob} to download it again")
