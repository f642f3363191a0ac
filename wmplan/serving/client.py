"""wmplan.client's PolicyClient, where the extra `serve` may be missing."""

from wmplan.errors import UserError

try:
    from wmplan.client.client import PolicyClient, PolicyError, PolicyRefused, PolicyUnavailable
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("msgpack", "websockets"):
        raise
    raise UserError("wmplan's client needs an extra: pip install 'wmplan[serve]'") from error

__all__ = ["PolicyClient", "PolicyError", "PolicyRefused", "PolicyUnavailable"]
