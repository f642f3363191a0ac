"""`wmplan serve`: one model plans for many robots, over a websocket in openpi's policy protocol.

The package itself needs no torch: what plans is handed to it.
"""

from wmplan.errors import UserError
from wmplan.serving.config import Bounds, ServerConfig

try:
    from wmplan.serving.server import PolicyServer
except ModuleNotFoundError as error:
    if error.name != "websockets":
        raise
    raise UserError("wmplan's server needs an extra: pip install 'wmplan[serve]'") from error

__all__ = ["Bounds", "PolicyServer", "ServerConfig"]
