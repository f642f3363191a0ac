"""The packages that hold public suites: whether one is installed, and the commands that install it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from dataclasses import dataclass

from wmplan.errors import NotPossibleError
from wmplan.machine import installed_version


@dataclass(frozen=True)
class SuitePackage:
    """A public suite.

    Attributes:
        name: what `wmplan suite name=NAME` says.
        module: what is imported.
        install: arguments of pip install that put it beside what is installed.
        own: arguments of pip install in a virtual environment of its own, where its own pins may hold.
        versions: the distributions whose versions are recorded; the first one is the suite itself.
        needs: modules that have to be there for its adapter; none for the module itself.
    """

    name: str
    module: str
    install: tuple[str, ...]
    own: tuple[str, ...]
    versions: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether its module is there; it is not imported."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def advice(self) -> str:
        """The commands that install it."""
        here = " ".join(f'"{one}"' if set(one) & set("<>") else one for one in self.install)
        return f"pip install {here}, or, in an environment of its own: wmplan suite name={self.name} setup=DIR"

    def require(self) -> None:
        """Import it.

        Raises:
            NotPossibleError: with the commands that install it.
        """
        with contextlib.suppress(ImportError):  # Farama's packages print notices of tasks, in every process
            importlib.import_module("farama_notifications").notifications.pop(self.module, None)
        try:
            importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name == self.module:
                raise NotPossibleError(f"{self.versions[0]} is not installed: {self.advice}") from None
            raise self.lacking(error) from error

    def unfit(self) -> str:
        """What to say where it is there and does not run: the versions, and the commands that install what fits."""
        here = ", ".join(f"{name} {installed_version(name)}" for name in self.versions)
        return f"{self.versions[0]} is there and does not run (here: {here}): {self.advice}"

    def lacking(self, error: ModuleNotFoundError) -> NotPossibleError:
        """What to raise where a module that it needs is not there."""
        return NotPossibleError(f"{self.versions[0]} lacks the module {error.name}: {self.advice}")
