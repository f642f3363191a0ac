"""The real-time control loop: act() answers at once, planning happens in the background."""

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.controller import RealtimeController

__all__ = ["RealtimeConfig", "RealtimeController"]
