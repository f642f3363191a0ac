"""The text of `wmplan COMMAND --help`: the keys, and of planner, encoder and card what will really be used."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wmplan.settings.compose import chosen, compose, has_config
from wmplan.settings.explain import explain, explain_parameters, explain_values, explained, inline
from wmplan.settings.protocols import named_protocols

if TYPE_CHECKING:
    from wmplan.settings.command import Command

PLUGINS = f"  {'plugins=[]':30}modules whose planners, objectives, tasks ... can be chosen too; see wmplan.plugins"


def help_text(name: str, command: Command, overrides: Sequence[str] = ()) -> str:
    """The help of a command, with what the overrides choose."""
    many = [f"{command.many.upper()} ..."] if command.many else []
    usage = " ".join(["Usage: wmplan", name, *map(str.upper, command.positional), *many])
    if not has_config(name):
        return f"{usage}\n\n{inspect.getdoc(command.run)}"
    keys = f"{explain(name, overrides)}\n{PLUGINS}"
    parts = [
        f"{usage} [key=value ...]",
        inspect.getdoc(command.run) or "",
        f"Keys, with their defaults:\n{keys}",
    ]
    settings = compose(name, overrides)
    if "planner" in command.free and ("objective" in settings or settings["planner"]):
        parts += explain_planning(name, settings)
    if "protocol" in chosen(name):
        parts.append(explain_protocols())
    if "encoder" in command.free:
        parts.append(explain_encoder(settings["encoder"]["kind"]))
    return "\n\n".join(parts)


def explain_planning(command: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """What will be planned with: the settings given, over those of the model's card, over the planner's defaults."""
    from wmplan.control.make import card_settings
    from wmplan.models.loading import card_of
    from wmplan.planning.registry import make_config

    model = settings["model"]
    card = {} if model in (None, "???") else card_of(model)  # none is chosen, or none is given yet
    using = card_settings(card, settings["planner"], settings.get("objective"), settings.get("schedule"))
    planner, recommended = using["planner"], (card.get("planning") or {}).get("planner") or {}
    by_card = recommended.get("name") == planner["name"]
    source = f"what the card of {model} recommends" if by_card else "its own defaults"
    other = next(one for one in ("mppi", "icem") if one != planner["name"])
    hint = f"wmplan {command} planner={other} --help shows those of {other}"
    config = make_config(**planner)
    lines = explain_parameters(type(config), "planner", asdict(config))
    yield f"Settings of {planner['name']}, over {source}; {hint}:\n{lines}"
    rest = {name: using[name] for name in ("objective", "schedule") if name in settings}
    if rest:
        yield f"{' and '.join(rest).capitalize()} that this gives:\n{explain_values(rest)}"


def explain_protocols() -> str:
    """The protocols by name, each with what differs on some tasks, and where it is from."""
    lines = []
    for one in named_protocols():
        own = [f"{pattern}: {inline(settings)}" for pattern, settings in one.tasks.items()]
        text = ". ".join([one.about, *own, f"Source: {one.source}"])
        lines.append(explained(f"protocol={one.name}", text))
    return "Protocols:\n" + "\n".join(lines)


def explain_encoder(kind: str) -> str:
    """The options of an encoder."""
    from wmplan.models.encoders import ENCODERS

    return f"Options of the encoder {kind}:\n{explain_parameters(ENCODERS[kind], 'encoder')}"
