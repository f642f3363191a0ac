"""Where the token comes from that clients have to show: never from the command line, which everyone can list."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wmplan.errors import UserError

VARIABLE = "WMPLAN_TOKEN"


def read_token(file: Path | None) -> str | None:
    """The token in `file`, else in the environment variable WMPLAN_TOKEN, else None.

    Raises:
        UserError: if the file is empty, or others may read it.
        OSError: if there is no such file.
    """
    if file is None:
        return os.environ.get(VARIABLE) or None
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise UserError(f"token_file: others may read {file}; chmod 600 {file}")
    token = file.read_text(encoding="utf-8").strip()
    if not token:
        raise UserError(f"token_file: {file} is empty")
    return token
