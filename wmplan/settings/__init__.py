"""Settings of a command: from `key=value` on the command line to checked dataclasses, and to the text of --help."""

from wmplan.settings.build import build
from wmplan.settings.compose import compose, group_options
from wmplan.settings.explain import explain

__all__ = ["build", "compose", "explain", "group_options"]
