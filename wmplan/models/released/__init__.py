"""Other labs' world models: LeWM, DINO-WM, JEPA-WM and V-JEPA 2-AC.

wmplan.models.loading asks recognise() for a path that is not in our form, and wmplan.models.building asks build() for a
configuration in it. Both are loaded when they are first asked for: files are checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.models.released.families import FAMILIES, build
    from wmplan.models.released.importer import import_checkpoint
    from wmplan.models.released.recognition import recognise

_HOME = {
    "FAMILIES": "families",
    "build": "families",
    "import_checkpoint": "importer",
    "recognise": "recognition",
}

__all__ = ["FAMILIES", "build", "import_checkpoint", "recognise"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.models.released' has no attribute {name!r}")
    return getattr(import_module(f"wmplan.models.released.{_HOME[name]}"), name)
