"""`wmplan train`: from a data set to a model that plans, in stages that each go on where they were stopped."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.checked import read_json_checked, write_json_checked
from wmplan.data import EpisodeStore, WindowSampler
from wmplan.interruption import Interrupted, termination_raises
from wmplan.models import JEPA, CheckpointError, save
from wmplan.models.linear import has_bfloat16
from wmplan.models.predictors import HiddenStatePredictor
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.curves import draw_curves, read_log
from wmplan.training.dense_dynamics import dense_dynamics_loss
from wmplan.training.fingerprint import fingerprint, tensors_hash
from wmplan.training.identity import claim, read_record, require_encoder, require_made_from
from wmplan.training.initial_model import seeded_initialisation
from wmplan.training.joint import Joint, with_predictor
from wmplan.training.latent_cache import cached_latents
from wmplan.training.latent_stages import dynamics_loss, encode_episode, latent_whitening, picture_loss, temporal_loss
from wmplan.training.losses import effective_rank
from wmplan.training.measures import (
    collapse_alarm,
    medians,
    one_step_error,
    open_loop_error,
    probe_errors,
    worst_entry,
)
from wmplan.training.preflight import preflight, regions_of, report, split, state_names
from wmplan.training.regions import errors_by_region
from wmplan.training.stage import Batch, Batches, Stage
from wmplan.training.symmetric import SymmetricWindows, SymmetryTest
from wmplan.training.windows import stage_windows, validation_frames

HELD_OUT = 2048  # windows that a stage is evaluated on
PROBE_STRIDE = 4  # robot steps between the frames that the probe of the first stage sees


def train(config: TrainConfig) -> JEPA:
    """Train, or go on with, the model of `config`; its checkpoint ends up in `out`/model.

    Raises:
        UserError: where the data, the folder or the configuration do not fit together.
    """
    torch.set_num_threads(config.threads or torch.get_num_threads())
    with termination_raises():
        run = Run(config)
        try:
            return run.run()
        except KeyboardInterrupt as stop:
            number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
            raise Interrupted(str(stop) or run.position(), number) from None
        finally:
            run.store.close()


class Run:
    """The stages of one training run over one folder."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.folder = config, Path(config.out)
        self.store = EpisodeStore.open(config.data, task=config.task)
        record = read_record(config)
        self.training, self.held = split(config, self.store)
        findings, model = preflight(config, self.store, self.training, self.held)
        report(findings, config.data, lambda text: print(text, file=sys.stderr))
        assert model is not None  # or else a finding would have said why
        self.model = model
        data = fingerprint(self.store, record and record["data"])
        pretrained = None if config.pretrained is None else tensors_hash(self.encoder_weights())
        self.made_from = claim(config, record, data, pretrained)
        self.windows = {one.stage: one for one in stage_windows(config)}
        self.state_names, self.regions = state_names(self.store), regions_of(config, self.store)
        self.latents: NDArray[np.float32] = np.empty(0, np.float32)
        self.copies: dict[str, NDArray[np.float32]] = {}
        self.symmetry_figures: dict[str, dict[str, Any]] = {}
        self.bfloat16 = has_bfloat16() if config.bfloat16 is None else config.bfloat16
        self.stage: Stage | None = None

    def encoder_weights(self) -> dict[str, Tensor]:
        """All that latents depend on."""
        parts = ("encoder.", "proprio_head.", "visual_")
        return {name: tensor for name, tensor in self.model.state_dict().items() if name.startswith(parts)}

    def position(self) -> str:
        """Where the same command goes on; empty where no stage has begun."""
        return "" if self.stage is None else self.stage.position()

    # ------------------------------------------------------------------ the stages

    def run(self) -> JEPA:
        """All stages in their order, then the export."""
        config = self.config
        if config.pretrained is None:
            self.joint()
        self.model.encoder.requires_grad_(False)
        self.made_from |= {"encoder": tensors_hash(self.encoder_weights())}
        require_encoder(self.folder, self.made_from)
        self.cache_latents()
        self.copy_latents()
        self.dynamics()
        self.model.error_scale.copy_(one_step_error(self.model, *self.held_windows(self.model.spec.history + 1)))
        if self.model.critic is not None:
            loss = partial(temporal_loss, expectile=config.expectile)
            self.latent_stage("temporal", config.temporal, self.model.critic, loss, None)
        if self.model.decoder is not None:
            self.latent_stage("pictures", config.pictures, self.model.decoder, picture_loss, None)
        self.export()
        return self.model

    def joint(self) -> None:
        """Encoder and predictor, end to end."""
        config, stage = self.config, self.config.joint
        frames = self.windows["joint"].frames
        columns = ("pixels", "action", *(("proprio",) if config.proprio else ()))
        with seeded_initialisation(config.seed + 2):
            model = self.model
            if config.joint_predictor is not None and config.dynamics.steps:
                model = with_predictor(model, config.joint_predictor, config.joint_predictor_options)
            joint = Joint(model, config.loss, self.bfloat16)
        batch = self.held_batch(frames, 256, columns)

        def figures(step: int) -> dict[str, Any]:
            with torch.no_grad():
                latents = model.encode(batch["pixels"], batch["proprio"] if config.proprio else None)
                visual = latents[..., : model.visual_dim].flatten(0, 1)
                alarm = collapse_alarm(effective_rank(visual), visual.shape[1])
                if alarm["collapsed"] and step > stage.steps // 10:  # before that they have not unfolded yet
                    print(f"collapse alarm: the latents use {alarm['effective_rank']} dimensions", file=sys.stderr)
                open_loop = open_loop_error(model, latents, batch["action"])
            return {**alarm, "open_loop": open_loop, "probe_by_region": self.probe_figures()}

        self.stage = Stage(
            "joint",
            joint,
            joint.loss,
            WindowSampler(
                self.store,
                frames,
                config.action_block,
                stage.batch_size,
                config.seed,
                episodes=self.training,
                columns=columns,
            ),
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            weight_decay=stage.weight_decay,
            optimizer=stage.optimizer,
            seed=config.seed,
            folder=self.folder,
            adamw_part=model.predictor,  # as fast as the encoder, it would leave that less to tell
            after_step=joint.update_target,
            evaluate=figures,
            save_every=stage.save_every,
            frames_per_step=stage.batch_size * frames,
            made_from=self.made_from,
            bfloat16=self.bfloat16,
        )
        self.stage.run()

    def cache_latents(self) -> None:
        """Encode the data set once, and set what is measured on latents: their scale and the whitening."""
        self.model.eval()
        encode = partial(encode_episode, self.model, self.store)
        self.latents = cached_latents(
            self.folder / "latents.npy", self.made_from, self.store, self.model.spec.latent_shape, encode
        )
        self.model.whitening.copy_(
            latent_whitening(self.model, self.latents, self.store.offsets, self.config.action_block)
        )

    def copy_latents(self) -> None:
        """Measure the declared symmetries, once a run, and encode the copies under those that hold."""
        if not self.config.symmetries or not self.config.dynamics.steps:
            return
        path = self.folder / "symmetries.json"
        if not path.exists():
            write_json_checked(path, {"made_from": self.made_from, "figures": self.measure_symmetries()})
        document = read_json_checked(path)
        require_made_from(path, document["made_from"], self.made_from)
        self.symmetry_figures = document["figures"]
        for name, figures in self.symmetry_figures.items():
            if figures["used"]:
                encode = partial(encode_episode, self.model, self.store, symmetry=self.config.symmetries[name])
                self.copies[name] = cached_latents(
                    self.folder / f"latents.{name}.npy",
                    {**self.made_from, "symmetry": name},
                    self.store,
                    self.model.spec.latent_shape,
                    encode,
                )

    def measure_symmetries(self) -> dict[str, dict[str, Any]]:
        """By what share copies under each symmetry are predicted worse than what was recorded; whether it is used."""
        config, model, found = self.config, self.model, {}
        columns = ("pixels", "action", *(("proprio",) if config.proprio else ()))
        train = self.one_batch(self.training, 3, 4 * HELD_OUT, ("action",))
        held = self.held_batch(3, HELD_OUT, columns)

        def prepared(latents: Tensor, actions: Tensor) -> Batch:
            return {"latent": latents @ model.whitening.T, "action": model.normalise_actions(actions)}

        with seeded_initialisation(config.seed + 2):
            test = SymmetryTest(
                prepared(train["latent"], train["action"]), prepared(held["latent"], held["action"]), seed=config.seed
            )
        for name, symmetry in config.symmetries.items():
            proprio = symmetry.map_proprio(held["proprio"]) if config.proprio else None
            with torch.no_grad():
                latents = model.encode(symmetry.map_frames(held["pixels"]).contiguous(), proprio)
            excess = test.excess(prepared(latents, symmetry.map_actions(held["action"])))
            used = excess <= config.symmetry_tolerance
            found[name] = {"excess": round(excess, 4), "used": used}
            print(
                f"symmetry {name}: copies are predicted {100 * excess:+.1f} % worse than what was recorded; "
                + ("used" if used else f"left out, symmetry_tolerance is {config.symmetry_tolerance}"),
                file=sys.stderr,
            )
        return found

    def dynamics(self) -> None:
        """The predictor alone, on cached latents and their copies."""
        config, predictor = self.config, self.model.predictor
        dense = isinstance(predictor, HiddenStatePredictor)
        loss = partial(
            dense_dynamics_loss if dense else dynamics_loss, noise=config.latent_noise, bfloat16=self.bfloat16
        )
        self.latent_stage(
            "dynamics", config.dynamics, predictor, loss, self.dynamics_figures, dense, tuple(self.copies)
        )

    def latent_stage(
        self,
        name: str,
        stage: StageConfig,
        module: nn.Module,
        loss: Callable[[JEPA, Batch, torch.Generator], tuple[Tensor, dict[str, float]]],
        figures: Callable[[int], dict[str, Any]] | None,
        dense: bool = False,
        copies: tuple[str, ...] = (),
    ) -> None:
        """One stage on cached latents, which trains one part of the model.

        Args:
            dense: windows of all rows, instead of one a model step.
            copies: symmetries, a batch holding equal parts of the data and of the copies under each.
        """
        config = self.config
        if not stage.steps:
            return
        windows = self.windows[name]
        frames, stride = (windows.rows, 1) if dense else (windows.frames, windows.action_block)
        columns = ("pixels",) if name == "pictures" else ("action",)
        size = max(stage.batch_size // (1 + len(copies)), 1)
        batches: Batches = self.latent_windows(self.training, frames, size, columns, stride)
        if copies:
            samplers = [
                self.latent_windows(self.training, frames, size, columns, stride, copy) for copy in (None, *copies)
            ]
            batches = SymmetricWindows(samplers, [config.symmetries[copy] for copy in copies])
        self.stage = Stage(
            name,
            module.requires_grad_(True),
            lambda batch, generator: loss(self.model, batch, generator),
            batches,
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            weight_decay=stage.weight_decay,
            optimizer=stage.optimizer,
            seed=config.seed + 1,
            folder=self.folder,
            evaluate=figures,
            save_every=stage.save_every,
            frames_per_step=stage.batch_size * frames,
            made_from=self.made_from,
            bfloat16=self.bfloat16,
        )
        self.stage.run()
        module.eval()

    def latent_windows(
        self,
        episodes: NDArray[np.int64],
        frames: int,
        batch_size: int,
        columns: tuple[str, ...],
        stride: int,
        copy: str | None = None,
    ) -> WindowSampler:
        """Windows of cached latents, or of those of the copies under a symmetry."""
        config = self.config
        number = 0 if copy is None else 1 + list(config.symmetries).index(copy)  # each copy has an order of its own
        return WindowSampler(
            self.store,
            frames,
            stride,
            batch_size,
            config.seed + 1 + 1000 * number,
            episodes=episodes,
            columns=columns,
            extra={"latent": self.latents if copy is None else self.copies[copy]},
        )

    def held_batch(self, frames: int, size: int, columns: tuple[str, ...]) -> Batch:
        """At most `size` held-out windows."""
        return self.one_batch(self.held, frames, size, columns)

    def one_batch(self, episodes: NDArray[np.int64], frames: int, size: int, columns: tuple[str, ...]) -> Batch:
        """At most `size` windows of some episodes."""
        stride = self.config.action_block
        windows = int(np.maximum(self.store.lengths[episodes] - (frames - 1) * stride, 0).sum())
        extra = {"latent": self.latents} if len(self.latents) else {}
        sampler = WindowSampler(
            self.store, frames, stride, max(1, min(size, windows)), 0, episodes=episodes, columns=columns, extra=extra
        )
        return next(iter(sampler))

    def held_windows(self, frames: int) -> tuple[Tensor, Tensor]:
        """Latents (N, T, L) and actions (N, T - 1, A) of held-out windows."""
        batch = self.held_batch(frames, HELD_OUT, ("action",))
        return batch["latent"], batch["action"]

    def dynamics_figures(self, step: int = 0) -> dict[str, Any]:
        """Open-loop error by horizon on held-out windows."""
        frames = validation_frames(self.config, int(self.store.lengths[self.held].max()))
        return {"open_loop": open_loop_error(self.model, *self.held_windows(frames))}

    # ------------------------------------------------------------------ the result

    def figures(self) -> dict[str, Any]:
        """What the card says the model was measured to do, on held-out episodes; of states only where there are any."""
        held = to_tensor(self.rows(self.held))[:, : self.model.visual_dim]
        figures: dict[str, Any] = {"open_loop": self.dynamics_figures()["open_loop"]}
        if names := self.state_names:
            latents = to_tensor(self.rows(self.training[:300]))[:, : self.model.visual_dim]
            states, held_states = (
                to_tensor(self.store.column("state", side)).flatten(1) for side in (self.training[:300], self.held)
            )
            for kind in ("ridge", "mlp"):
                errors = probe_errors(latents, states, held, held_states, names, kind)
                figures[f"probe_{kind}"] = medians(errors, names)
            figures["probe_by_region"] = errors_by_region(errors, held_states.numpy(), names, self.regions)
        figures["effective_rank"] = round(effective_rank(held), 2)
        if self.symmetry_figures:
            figures["symmetries"] = self.symmetry_figures
        return figures

    def probe_figures(self) -> dict[str, float]:
        """How well a probe reads the worst entry of the state in each region, off the present encoder; see worst_entry.

        Empty where the data holds no states.
        """
        names = self.state_names
        if not names:
            return {}
        sides = []
        for episodes in (self.training[:200], self.held):
            frames, states = [], []
            for episode in episodes:
                columns = self.store.episode(int(episode), ("pixels", "state"))
                with torch.no_grad():
                    visual = self.model.encode_visual(torch.from_numpy(columns["pixels"][None, ::PROBE_STRIDE]))[0]
                frames.append(visual)
                states.append(columns["state"][::PROBE_STRIDE].reshape(len(visual), -1))
            sides.append((torch.cat(frames), np.concatenate(states)))
        (latents, states_), (held, held_states) = sides
        errors = probe_errors(latents, to_tensor(states_), held, to_tensor(held_states), names, "mlp")
        spread = dict(zip(names, held_states.std(0) + 1e-9, strict=True))
        return worst_entry(errors_by_region(errors, held_states, names, self.regions), spread)

    def rows(self, episodes: NDArray[np.int64]) -> NDArray[np.float32]:
        """The cached latents of some episodes, of shape (rows, L)."""
        spans = [
            slice(o, o + n) for o, n in zip(self.store.offsets[episodes], self.store.lengths[episodes], strict=True)
        ]
        return np.concatenate([self.latents[span] for span in spans])

    def export(self) -> None:
        """Write the model into the folder; then once more with what it was measured to do, and the curves."""
        config, meta = self.config, self.store.meta
        stages = ("joint", "dynamics", "temporal", "pictures")
        seconds = {stage: rows[-1]["seconds"] for stage in stages if (rows := read_log(self.folder / f"{stage}.jsonl"))}
        settings = {
            name: value
            for name, value in asdict(config).items()
            if name not in ("data", "out", "pretrained", "planning")
        }
        card = {
            "name": config.name,
            "task": meta.task,
            "data": {"seed": meta.seed, "episodes": meta.episodes, "steps": meta.steps, "policy": meta.policy},
            "seed": config.seed,
            "commit": commit(),
            "command": shlex.join(["wmplan", *sys.argv[1:]]),
            "training": settings,
            "seconds": seconds,
            "figures": {},
            "planning": config.planning,
        }
        self.model.requires_grad_(True).eval()
        folder = self.folder / "model"
        try:
            save(self.model, folder, card, half=config.half)  # first: what follows may fail, and needs no training
            save(self.model, folder, {**card, "figures": self.figures()}, half=config.half)
        except CheckpointError as error:
            hint = "; half=false may hold them" if config.half else ""
            raise CheckpointError(f"{error}{hint}") from error
        shutil.copy(draw_curves(self.folder, stages), folder / "curves.png")


def to_tensor(array: NDArray[Any]) -> Tensor:
    """The array as float32."""
    return torch.from_numpy(np.asarray(array, np.float32))


def commit() -> str | None:
    """The repository's commit this code runs from, None outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
