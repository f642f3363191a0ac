"""Importing a module of a package whose __init__ loads what is not needed, and may not be there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from wmplan.suite_package import SuitePackage


def import_bare(suite: SuitePackage, modules: Sequence[str]) -> list[ModuleType]:
    """Import modules of a suite without running the __init__ of the packages that they lie in.

    stable-worldmodel's load torchvision, LanceDB and all of its training, which takes seconds; of it an environment is
    one file. What is imported here is not left behind in sys.modules, so that a later import gets the whole package.

    Args:
        suite: whose package it is.
        modules: full names, in the order in which they are imported.

    Raises:
        NotPossibleError: if the package or something that these modules import is not installed.
    """
    spec = importlib.util.find_spec(suite.module)
    if spec is None or not spec.submodule_search_locations:
        suite.require()
    assert spec is not None and spec.submodule_search_locations
    root, own = Path(next(iter(spec.submodule_search_locations))), suite.module + "."
    packages = {suite.module}
    for module in modules:
        parts = module.split(".")
        packages |= {".".join(parts[:count]) for count in range(2, len(parts))}
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name == suite.module or name.startswith(own)}
    try:
        for name in sorted(packages):  # a package comes before what lies in it
            bare = ModuleType(name)
            bare.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = bare
        return [importlib.import_module(module) for module in modules]
    except ModuleNotFoundError as error:
        raise suite.lacking(error) from error
    finally:
        for name in [name for name in sys.modules if name == suite.module or name.startswith(own)]:
            del sys.modules[name]
        sys.modules.update(before)
