"""What a benchmark measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wmplan.bench.models import MODELS
from wmplan.errors import UserError
from wmplan.machine import MOST_THREADS
from wmplan.settings.build import convert_fields
from wmplan.settings.dtypes import check_dtype
from wmplan.settings.numbers import MAX_SEED, whole_number
from wmplan.settings.suggest import did_you_mean


@dataclass(frozen=True)
class Case:
    """One thing to time: a planner with a budget on a model.

    Attributes:
        model: one of MODELS.
        planner: a planner's name.
        batch: environments planned together.
        samples, horizon, iterations: of the planner.
    """

    model: str
    planner: str
    batch: int
    samples: int
    horizon: int
    iterations: int


BASE = (
    Case("keypoint", "icem", 1, 128, 5, 4),
    Case("lewm", "icem", 1, 64, 5, 3),
    Case("dino_wm", "cem", 1, 4, 2, 1),
)
LARGER = (
    Case("keypoint", "cem", 1, 300, 5, 30),
    Case("lewm", "cem", 1, 300, 5, 30),
    Case("dino_wm", "cem", 1, 64, 5, 1),
)
SWEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "keypoint": {"batch": (2, 4, 8, 16), "samples": (32, 300, 1000), "horizon": (1, 2, 10)},
    "lewm": {"batch": (2, 4, 8), "samples": (32, 128, 300), "horizon": (1, 2, 10)},
    "dino_wm": {"batch": (2,), "samples": (1, 8, 16), "horizon": (1, 3)},
}


def cases(models: Sequence[str], full: bool) -> Iterator[Case]:
    """A case for each model; with full, also larger budgets, and one setting after the other varied around it."""
    for base in BASE:
        if base.model not in models:
            continue
        yield base
        if full:
            yield from (case for case in LARGER if case.model == base.model)
            for name, values in SWEEPS[base.model].items():
                yield from (Case(**{**asdict(base), name: value}) for value in values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class BenchConfig:
    """What `wmplan bench` measures.

    Attributes:
        full: vary batch, samples and horizon, and plan with the research preset too; minutes instead of seconds.
        models: which models: keypoint (a small JEPA), lewm (15 million parameters), dino_wm (196 patch tokens a frame).
        dtype: what the models compute in: float32, bfloat16, or auto, which is bfloat16 where it was measured to gain.
        threads: of torch; None leaves them as they are.
        compile: have torch.compile make the rollouts; its warm-up is told apart.
        device: where the models are: cpu, cuda, cuda:1, mps, or auto for CUDA where there is any.
        seconds: time spent on each case, at least three plans.
        seed: of the weights and the candidates.
        out: folder for bench.json and bench.png; None writes nothing.
    """

    full: bool = False
    models: tuple[str, ...] = tuple(MODELS)
    dtype: str = "auto"
    threads: int | None = None
    compile: bool = False
    device: str = "cpu"
    seconds: float = 2.0
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        for name in self.models:
            if name not in MODELS:
                raise UserError(f"models holds {name!r}; {did_you_mean(name, MODELS)}")
        if not self.models:
            raise UserError(f"models is empty, it has to name some of {', '.join(MODELS)}")
        check_dtype(self.dtype)
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UserError(f"threads must be from 1 to {MOST_THREADS}, got {self.threads}")
        if not self.seconds > 0:
            raise UserError(f"seconds must be above 0, got {self.seconds}")
        whole_number(self.seed, "seed", 0, MAX_SEED)
