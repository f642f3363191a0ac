"""conversion.json beside converted shards: what they were made from, so that no shard of another source is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wmplan.checked import DamagedFileError, json_hash, read_json_checked
from wmplan.data.fingerprint import fingerprint
from wmplan.data.meta import DataError, write_document
from wmplan.data.reader import Reader

NAME = "conversion.json"
SHOWN = 16  # hexadecimal digits of a hash that tell two sources apart


@dataclass(frozen=True)
class ConversionRecord:
    """What shards were made from; their sizes and rate are in meta.json.

    Attributes:
        source: hash of the content of the source's files, wherever they lie.
        camera: that was chosen, or several; None where there is one, or none.
        shift: rows that actions were moved by.
        files: hash and stamp of each file, so that those that are unchanged need not be hashed again.
    """

    source: str
    camera: str | list[str] | None
    shift: int
    files: dict[str, dict[str, Any]]

    @classmethod
    def of(
        cls, data: Reader, camera: str | list[str] | None, shift: int, before: ConversionRecord | None
    ) -> ConversionRecord:
        """That of a source; `before` knows the files that have not been written to since."""
        files = fingerprint(data, before.files if before else None)
        content = {name: entry["sha256"] for name, entry in files.items()}
        return cls(json_hash(content)[:SHOWN], camera, shift, files)

    def told(self) -> dict[str, Any]:
        """What has to be the same where a conversion goes on."""
        return {"source": self.source, "camera": self.camera, "shift": self.shift}

    def write(self, folder: Path) -> None:
        """Write it into `folder`."""
        write_document(folder / NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> ConversionRecord:
        """Read it from `folder`.

        Raises:
            DataError: where it is not there, as older versions wrote none, or damaged.
        """
        try:
            return cls(**read_json_checked(folder / NAME))
        except (OSError, DamagedFileError, TypeError):
            raise DataError(
                f"{folder} does not say in {NAME} what it was made from: give another out=DIR, or delete {folder} to "
                "begin anew"
            ) from None
