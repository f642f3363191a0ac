"""One stage of training: a loop over steps that can be killed at any moment and goes on exactly where it was saved."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wmplan.atomic_io import write_durably
from wmplan.checked import check, write_checked
from wmplan.errors import UserError
from wmplan.interruption import Interrupted, Interruption
from wmplan.training.identity import require_made_from
from wmplan.training.loggers import Logger, NoLogger
from wmplan.training.muon import Muon
from wmplan.training.ranks import Batch, Ranks

SAVE_SECONDS = 30.0
"""Longest time that a kill may lose, but for one step and one evaluation."""
FIRST_FIGURES_SECONDS = 5.0
"""When the first figures are shown where there is no progress bar."""


class Batches(Protocol):
    """An endless, resumable stream of batches."""

    def __iter__(self) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Stage:
    """Trains `module` for `steps` steps with a warm-up and a cosine decay.

    Args:
        name: of the stage: it names its files in `folder` and its rows in the log.
        module: what is trained; every parameter that wants a gradient.
        loss: from a batch and a generator to the loss and the figures to log.
        batches: where the batches come from.
        optimizer: "adamw" or "muon".
        adamw_part: a part of the module that takes AdamW's steps whatever the optimiser.
        after_step: called after each optimiser step (averages of weights).
        evaluate: called with the step at every report; its figures join the log.
        save_every: steps between reports, each with an evaluation and a save; what took longer than SAVE_SECONDS is
            saved in between.
        made_from: all that the result depends on, as JSON has it; a save that was made from something else is refused.
        bfloat16: let Muon orthogonalise in bfloat16; the loss sees to its own products.
        schedules: by name of an optimiser's setting ("lr", "weight_decay") its value at a step; the learning rate
            follows schedule() where it has none.
        decay_matrices_only: let no weight decay act on biases and on the weights of norms, under AdamW.
        ranks: the processes that train together; the first one evaluates, saves and speaks.
        logger: where the figures of each report go, beside the log.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        loss: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, float]]],
        batches: Batches,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        optimizer: str,
        seed: int,
        folder: Path,
        adamw_part: nn.Module | None = None,
        after_step: Callable[[], None] | None = None,
        evaluate: Callable[[int], dict[str, Any]] | None = None,
        save_every: int = 500,
        frames_per_step: int = 0,
        made_from: Mapping[str, Any] | None = None,
        bfloat16: bool = False,
        schedules: Mapping[str, Callable[[int], float]] | None = None,
        decay_matrices_only: bool = False,
        ranks: Ranks | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.name, self.module, self.loss, self.batches = name, module, loss, batches
        self.steps, self.learning_rate, self.folder = steps, learning_rate, folder
        self.after_step, self.evaluate, self.save_every = after_step, evaluate, save_every
        self.frames_per_step, self.made_from = frames_per_step, dict(made_from or {})
        self.ranks, self.logger = ranks or Ranks(), logger or NoLogger()
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if optimizer == "muon":
            apart = {id(p) for p in adamw_part.parameters()} if adamw_part else set()
            groups: list[dict[str, Any]] = [{"params": [p for p in self.parameters if id(p) not in apart]}]
            if apart:
                groups.append({"params": [p for p in self.parameters if id(p) in apart], "largest": 0})
            self.optimizer = Muon(groups, lr=learning_rate, weight_decay=weight_decay, bfloat16=bfloat16)
        else:
            decayed = [p for p in self.parameters if p.ndim > 1 or not decay_matrices_only]
            groups = [{"params": decayed}]
            if len(decayed) < len(self.parameters):
                groups.append({"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0})
            self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)
        self.schedules: dict[str, Callable[[int], float]] = {
            "lr": lambda step: self.learning_rate * self.schedule(),
            **(schedules or {}),
        }
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self.saved_step: int | None = None
        self.seconds = 0.0
        self.rows: list[dict[str, Any]] = []
        self.latest: dict[str, Any] = {}
        """The training figures of the report under way, for what evaluates."""
        self.later_seconds = 0.0
        """What the stages after this one will take, for the time that is shown to be left."""

    @property
    def checkpoint(self) -> Path:
        """Where this stage is saved."""
        return self.folder / f"{self.name}.checkpoint.pt"

    @property
    def log(self) -> Path:
        """One JSON object a line: the figures at each report. It is for people; the save has its own copy."""
        return self.folder / f"{self.name}.jsonl"

    def run(self) -> None:
        """Train until the last step, from the beginning or from the last save.

        Raises:
            Interrupted: after SIGINT or SIGTERM, when the step under way is saved.
        """
        if self.saved_step is None:
            self.resume()
        if self.step >= self.steps:
            return
        self.module.train()
        self.ranks.align(self.module)
        saved = shown = time.monotonic()
        started = saved - self.seconds
        unseen = not self.rows  # no figures were shown yet
        bar = tqdm(total=self.steps, initial=self.step, desc=self.name, unit="step", disable=None, dynamic_ncols=True)
        with bar, Interruption() as interruption:
            for batch in self.batches:
                figures: dict[str, Any] = self.one_step(batch)
                now, asked = time.monotonic(), interruption.signal
                if self.ranks.world > 1:  # all stop after the same step
                    asked = round(max(0.0, self.ranks.largest(asked or 0))) or None
                self.seconds = now - started
                bar.update()
                if self.step % self.save_every == 0 or self.step == self.steps:
                    figures |= self.report(figures)
                    saved, unseen = time.monotonic(), False
                elif asked or now - saved >= SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if now - shown >= 1.0 or self.step == 1:
                    self.show_on(bar, figures)
                    shown = now
                if unseen and self.seconds >= FIRST_FIGURES_SECONDS:
                    self.show(figures)
                    unseen = False
                if asked:
                    raise Interrupted(self.position(), asked)
                if self.step == self.steps:
                    break

    def resume(self) -> None:
        """Stand where the last save was taken, at the beginning where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ranks.wait()  # or else one might see a save that another has not
        if self.checkpoint.exists():
            self.restore()
        self.saved_step = self.step

    def position(self) -> str:
        """Where the same command goes on; empty before that is known."""
        if self.saved_step is None:
            return ""
        if self.saved_step == 0:
            return f"nothing of stage {self.name} is saved yet, the same command begins it anew"
        if self.saved_step == self.steps:
            return f"stage {self.name} is finished and saved, the same command goes on after it"
        return f"stage {self.name} is saved at step {self.saved_step} of {self.steps}, the same command goes on there"

    def one_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; the loss has to be finite.

        Raises:
            FloatingPointError: if it is not.
        """
        for group in self.optimizer.param_groups:
            for name, value in self.schedules.items():
                if group[name]:  # a weight decay of 0 stays 0
                    group[name] = value(self.step)
        loss, figures = self.loss(self.ranks.put(batch), self.generator)
        figures = self.ranks.mean({"loss": loss.item(), **figures})
        if not math.isfinite(figures["loss"]):
            raise FloatingPointError(f"the loss of stage {self.name} is not finite at step {self.step}: {figures}")
        self.optimizer.zero_grad()
        loss.backward()
        self.ranks.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        if self.after_step:
            self.after_step()
        self.step += 1
        return figures

    def schedule(self) -> float:
        """Share of the learning rate at the present step: 100 steps of warm-up, then a cosine down to 1 %."""
        warm = min(1.0, (self.step + 1) / min(100, max(self.steps // 10, 1)))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))

    def report(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Evaluate, save, and write the log from what was saved."""
        extra: dict[str, Any] = {}
        self.latest = figures
        if self.evaluate and self.ranks.first:
            self.module.eval()
            extra = self.evaluate(self.step)
            self.module.train()
        line = {"step": self.step, "seconds": round(self.seconds, 1), **figures, **extra}
        if self.frames_per_step:
            line["frames_per_second"] = round(self.step * self.frames_per_step / self.seconds)
        self.rows.append(line)
        self.save()
        self.write_log()
        if self.ranks.first:
            self.logger.log(self.name, line)
        self.show(line)
        return extra

    def show_on(self, bar: tqdm, figures: Mapping[str, Any]) -> None:
        """Put the first figures on the progress bar, and the time left of the whole run."""
        shown = {name: f"{value:.3g}" for name, value in list(figures.items())[:4] if isinstance(value, float)}
        left = self.seconds / self.step * (self.steps - self.step) + self.later_seconds
        bar.set_postfix({"run": f"{left / 60:.0f} min left", **shown})

    def show(self, figures: Mapping[str, Any]) -> None:
        """Print the figures where there is no progress bar."""
        if not os.isatty(2):
            left = self.seconds / self.step * (self.steps - self.step)
            whole = f" ({(left + self.later_seconds) / 60:.1f} of the run)" if self.later_seconds else ""
            shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, int | float) and k != "step")
            print(f"{self.name} {self.step}/{self.steps}, {left / 60:.1f} min left{whole}: {shown}", flush=True)

    def save(self) -> None:
        """Write the whole state, so that a restart repeats what would have come.

        Raises:
            UserError: where the disk does not take it; the save before is intact.
        """
        if not self.ranks.first:
            self.saved_step = self.step
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "rows": json.dumps(self.rows),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "batches": self.batches.state_dict(),
        }
        content = io.BytesIO()  # torch's writer would hide what the disk says
        torch.save(state, content)
        write_checked(self.checkpoint, lambda file: file.write(content.getbuffer()), self.made_from)
        self.saved_step = self.step

    def restore(self) -> None:
        """Read the last save, and write its log, which a kill may have left behind.

        Raises:
            UserError: if the save is damaged or was made from something else.
        """
        require_made_from(
            self.checkpoint,
            check(self.checkpoint, "delete it, and this stage is trained again"),
            self.made_from,
        )
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        try:
            self.module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{self.checkpoint} is of another configuration: {str(error).splitlines()[0]}") from error
        self.generator.set_state(state["generator"])
        self.batches.load_state_dict(state["batches"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], json.loads(state["rows"])
        self.write_log()

    def write_log(self) -> None:
        """Write the log anew."""
        if not self.ranks.first:
            return
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_durably(self.log, lambda file: file.write(text.encode()))
