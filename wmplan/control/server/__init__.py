"""`wmplan serve`: one model plans for many robots, over a websocket in openpi's policy protocol.

The package itself needs no torch: what plans is handed to it.
"""

from wmplan.control.server.config import ServerConfig
from wmplan.control.server.server import PolicyServer

__all__ = ["PolicyServer", "ServerConfig"]
