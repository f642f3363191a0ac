"""wmplan.client's wire format, where the extra `serve` may be missing."""

from wmplan.errors import UserError

try:
    from wmplan.client.wire import MAX_DEPTH, MAX_DIMENSIONS, MAX_ITEMS, MAX_TEXT, WireError, pack, unpack
except ModuleNotFoundError as error:
    if error.name != "msgpack":
        raise
    raise UserError("wmplan's server and client need an extra: pip install 'wmplan[serve]'") from error

__all__ = ["MAX_DEPTH", "MAX_DIMENSIONS", "MAX_ITEMS", "MAX_TEXT", "WireError", "pack", "unpack"]
