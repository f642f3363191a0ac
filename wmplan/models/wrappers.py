"""Names of tensors as training tools leave them: wrapped modules, and a model somewhere in a training checkpoint.

torch.compile puts "_orig_mod." into a name, DataParallel and the like "module.", FSDP and activation checkpointing
names of their own, wherever a module was wrapped. Trainers put the whole model under a key ("state_dict", "model",
"ema") or an attribute ("model."), or both. The former are left out everywhere; where the model begins is found by a
tensor that only its family has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from wmplan.models.errors import CheckpointError

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
TOP = "."
"""What is called the prefix of a model that is the whole file."""


def unwrap(names: Iterable[str], source: object) -> dict[str, str]:
    """The names without wrappers, each with the one in the file.

    Raises:
        CheckpointError: where two become one.
    """
    unwrapped: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        short = ".".join(part for part in parts[:-1] if part not in WRAPPERS)
        short = f"{short}.{parts[-1]}" if short else parts[-1]
        if short in unwrapped:
            raise CheckpointError(f"{source} holds {short} twice, with and without a wrapper")
        unwrapped[short] = name
    return unwrapped


def without_backbone(name: str) -> str:
    """A name without V-JEPA 2's "backbone."; PreJEPA's frozen encoder, which begins with it, keeps it."""
    return name if name.startswith("backbone.") else name.replace(".backbone.", ".")


def find_prefix(names: Iterable[str], signs: Collection[str], chosen: str | None, source: object) -> str | None:
    """What stands before the names of the one model in a checkpoint, with the dot; None where there is no model.

    Args:
        names: without wrappers.
        signs: names of tensors, one of which a model has.
        chosen: which model is wanted where there are several: "ema", or TOP.
        source: the file, for errors.

    Raises:
        CheckpointError: where there are several and none is chosen, or none of that name; it names them.
    """
    found: dict[str, None] = {}
    for name in map(without_backbone, names):
        for sign in signs:
            if name == sign or name.endswith(f".{sign}"):
                found[name.removesuffix(sign)] = None
    prefixes = {prefix.removesuffix(".") or TOP: prefix for prefix in found}
    if chosen is not None:
        if chosen not in prefixes:
            there = f"there is one under {', '.join(prefixes)}" if prefixes else "there is none"
            raise CheckpointError(f"{source} holds no model under prefix={chosen}, {there}")
        return prefixes[chosen]
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{source} holds several models, under {', '.join(prefixes)}: choose one, as in "
            f"wmplan import {source} out=DIR prefix={next(iter(prefixes))}"
        )
    return next(iter(found), None)


def under_prefix(names: Mapping[str, str], prefix: str, source: object) -> dict[str, str]:
    """Those names that begin with `prefix`, without it and without V-JEPA 2's "backbone.", each with the file's.

    Raises:
        CheckpointError: where two become one.
    """
    inner: dict[str, str] = {}
    for name, theirs in names.items():
        if name.startswith(prefix):
            short = without_backbone(name.removeprefix(prefix))
            if short in inner:
                raise CheckpointError(f"{source} holds {short} twice, with and without a wrapper")
            inner[short] = theirs
    return inner
