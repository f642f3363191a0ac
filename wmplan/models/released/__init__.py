"""Other labs' world models: LeWM, DINO-WM, JEPA-WM and V-JEPA 2-AC.

wmplan.models.loading asks recognise() for a path that is not in our form, and wmplan.models.building asks build() for a
configuration in it. Both are loaded when they are first asked for: files are checked without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.lazy import export

if TYPE_CHECKING:
    from wmplan.models.released.families import FAMILIES as FAMILIES
    from wmplan.models.released.families import build as build
    from wmplan.models.released.importer import import_checkpoint as import_checkpoint
    from wmplan.models.released.recognition import recognise as recognise

__all__ = export(
    __name__,
    {
        ".families": "FAMILIES build",
        ".importer": "import_checkpoint",
        ".recognition": "recognise",
    },
)
