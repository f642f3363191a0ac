"""What is finished of an exam, piece by piece on the disk, so that one that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.checked import DamagedFileError, check, read_json_checked, write_checked, write_json_checked
from wmplan.output_folder import make_folder
from wmplan.settings.difference import require_same

Arrays = dict[str, NDArray[Any]]
FOLDER, SETTINGS = "progress", "settings.json"


class Progress:
    """Pieces of work by name; each is done once, and read from the disk from then on.

    Args:
        folder: of the exam; None keeps nothing.
        made_from: all that the pieces depend on, as JSON has it.

    Raises:
        UserError: if the folder holds pieces that were made from something else; nothing is changed then.
    """

    def __init__(self, folder: Path | None, made_from: Mapping[str, Any]) -> None:
        self.folder, self.made_from = None if folder is None else folder / FOLDER, made_from
        if self.folder is None:
            return
        settings = self.folder / SETTINGS
        if settings.is_file() and any(self.folder.glob("*.npz")):
            require_same(self.folder.parent, read_json_checked(settings), made_from, "an exam")
        make_folder(self.folder)
        write_json_checked(settings, made_from)

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a piece, which are made where they are not on the disk whole."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.npz"
        if path.is_file():
            try:
                require_same(self.folder.parent, check(path), self.made_from, "an exam")
                with np.load(path) as file:
                    return {key: file[key] for key in file.files}
            except DamagedFileError:
                pass  # made again
        made = make()
        write_checked(path, lambda file: file.write(packed(made)), self.made_from)
        return made


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an npz file."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def weights_sha256(model: torch.nn.Module) -> str:
    """Of all that a model has learned, wherever it was read from."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
