"""Packages whose public names are imported when they are first used, so that importing one loads little."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def export(package: str, names: Mapping[str, str], subpackages: Sequence[str] = ()) -> list[str]:
    """Give a package its public names; its __init__ calls this, with the imports for type checkers beside it.

    Args:
        package: the package's __name__.
        names: from a module, ".meta" for one of the package's own, to its names: "DataError StoreMeta".
        subpackages: packages below it that are public, too.

    Returns:
        All these names, for `__all__`.
    """
    home = {name: module for module, several in names.items() for name in several.split()}
    public = sorted([*home, *subpackages])

    class LazyPackage(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name in subpackages:
                return import_module(f"{package}.{name}")
            if name not in home:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            return getattr(import_module(home[name], package), name)

        def __setattr__(self, name: str, value: object) -> None:
            # Importing a submodule binds it in its package: it is not to hide a public name that is the same.
            if not (name in home and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return self.__all__

    sys.modules[package].__class__ = LazyPackage
    return public
