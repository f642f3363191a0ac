"""`wmplan train`: from a data set to a model that plans, in stages that each go on where they were stopped."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.data import EpisodeStore, WindowSampler
from wmplan.data.sampler import split_episodes
from wmplan.durable import remove_leftovers, write_durably, write_json
from wmplan.errors import UserError
from wmplan.models import JEPA, JEPAConfig, ModelSpec, load, save
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.curves import draw_curves, read_log
from wmplan.training.joint import Joint
from wmplan.training.latent_stages import dynamics_loss, encode_store, latent_whitening, picture_loss, temporal_loss
from wmplan.training.losses import effective_rank
from wmplan.training.measures import collapse_alarm, one_step_error, open_loop_error, probe_errors
from wmplan.training.stage import Batch, Stage

HELD_OUT = 2048  # windows that a stage is evaluated on
CRITIC_FRAMES = 11  # model steps of the trajectories that the critic is trained on


def train(config: TrainConfig) -> JEPA:
    """Train, or go on with, the model of `config`; its checkpoint ends up in `out`/model.

    Raises:
        UserError: where the data, the folder or the configuration do not fit together.
    """
    torch.set_num_threads(config.threads or torch.get_num_threads())
    return Run(config).run()


class Run:
    """The stages of one training run over one folder."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.folder = config, Path(config.out)
        self.store = EpisodeStore.open(config.data, task=config.task)
        self.claim_folder()
        self.training, self.held = split_episodes(len(self.store), config.validation)
        self.model = self.build_model()
        self.latents: NDArray[np.float32] = np.empty(0, np.float32)

    def claim_folder(self) -> None:
        """Write the configuration into the folder, or check that it holds the same.

        Raises:
            UserError: if the folder holds a run with other settings.
        """
        settings = json.loads(json.dumps(asdict(self.config)))
        path = self.folder / "train.json"
        if path.exists():
            before = json.loads(path.read_text())
            for name, value in settings.items():
                if name not in ("threads", "out", "planning") and before.get(name) != value:
                    raise UserError(
                        f"{self.folder} holds a run with {name}={before.get(name)}, not {value}: choose another out"
                    )
            remove_leftovers(self.folder)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, settings, indent=2)
        except OSError as error:
            raise UserError(f"out={self.folder} cannot be written: {error.strerror}") from None

    def build_model(self) -> JEPA:
        """The untrained model; with a pretrained encoder, that one in it."""
        config, meta = self.config, self.store.meta
        actions = self.store.column("action", self.training)
        actions = actions[np.isfinite(actions).all(-1)]
        proprio = self.store.column("proprio", self.training) if config.proprio else np.zeros((1, 0), np.float32)
        if meta.image_size is None or not meta.action_low:
            raise UserError(f"{config.data} does not say its image size and action bounds: convert it with these first")
        spec = ModelSpec(
            image_size=(meta.image_size[0], meta.image_size[1]),
            history=config.history,
            action_block=config.action_block,
            action_low=tuple(meta.action_low),
            action_high=tuple(meta.action_high),
            action_mean=(0.0,) * actions.shape[1],  # a null action stays null
            action_std=tuple(float(x) for x in np.sqrt((actions.astype(np.float64) ** 2).mean(0)) + 1e-6),
            latent_shape=(config.latent_dim + config.robot_dim + proprio.shape[1],),
            proprio_dim=proprio.shape[1],
            proprio_mean=tuple(map(float, proprio.mean(0))),
            proprio_std=tuple(map(float, proprio.std(0) + 1e-6)),
            control_rate=meta.control_rate or 10.0,
        )
        architecture = JEPAConfig(
            encoder=config.encoder,
            encoder_options=config.encoder_options,
            latent_dim=config.latent_dim,
            robot_dim=config.robot_dim,
            predictor=config.predictor,
            predictor_options=config.predictor_options,
            critic=config.temporal.steps > 0,
            critic_options=config.critic_options,
            decoder=config.pictures.steps > 0,
            decoder_options=config.decoder_options,
        )
        with seeded_initialisation(config.seed):
            model = JEPA(architecture, spec)
        if config.pretrained is not None:
            self.take_encoder(model, config.pretrained)
        return model

    def take_encoder(self, model: JEPA, path: str) -> None:
        """Put the encoder of another model into this one, with the head that reads the robot's state off it."""
        other = load(path)
        if not isinstance(other, JEPA) or other.visual_dim != model.visual_dim:
            raise UserError(
                f"pretrained={path} has no encoder with {model.visual_dim} latent numbers of a JEPA of ours"
            )
        model.encoder = other.encoder
        model.visual_mean.copy_(other.visual_mean)
        model.visual_std.copy_(other.visual_std)
        if model.proprio_head is not None and other.proprio_head is not None:
            model.proprio_head.load_state_dict(other.proprio_head.state_dict())

    # ------------------------------------------------------------------ the stages

    def run(self) -> JEPA:
        """All stages in their order, then the export."""
        config = self.config
        if config.pretrained is None:
            self.joint()
        self.model.encoder.requires_grad_(False)
        self.cache_latents()
        loss = partial(dynamics_loss, noise=config.latent_noise)
        self.latent_stage("dynamics", config.dynamics, self.model.predictor, loss, self.dynamics_figures)
        self.model.error_scale.copy_(one_step_error(self.model, *self.held_windows(self.model.spec.history + 1)))
        if self.model.critic is not None:
            loss = partial(temporal_loss, expectile=config.expectile)
            self.latent_stage("temporal", config.temporal, self.model.critic, loss, None, frames=CRITIC_FRAMES)
        if self.model.decoder is not None:
            self.latent_stage("pictures", config.pictures, self.model.decoder, picture_loss, None, frames=1)
        self.export()
        return self.model

    def joint(self) -> None:
        """Encoder and predictor, end to end."""
        config, stage = self.config, self.config.joint
        frames = config.history + config.rollout
        columns = ("pixels", "action", "proprio")
        with seeded_initialisation(config.seed + 2):
            joint = Joint(self.model, config.loss)
        batch = self.held_batch(frames, 256, columns)

        def figures(step: int) -> dict[str, Any]:
            with torch.no_grad():
                latents = self.model.encode(batch["pixels"], batch["proprio"] if config.proprio else None)
                visual = latents[..., : self.model.visual_dim].flatten(0, 1)
                alarm = collapse_alarm(effective_rank(visual), visual.shape[1])
                if alarm["collapsed"] and step > stage.steps // 10:  # before that they have not unfolded yet
                    print(f"collapse alarm: the latents use {alarm['effective_rank']} dimensions", file=sys.stderr)
                return {**alarm, "open_loop": open_loop_error(self.model, latents, batch["action"])}

        Stage(
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
            adamw_part=self.model.predictor,  # as fast as the encoder, it would leave that less to tell
            after_step=joint.update_target,
            evaluate=figures,
            save_every=stage.save_every,
            frames_per_step=stage.batch_size * frames,
        ).run()

    def cache_latents(self) -> None:
        """Encode the data set once, and set what is measured on latents: their scale and the whitening."""
        path = self.folder / "latents.npy"
        if not path.exists():
            latents = encode_store(self.model, self.store)
            write_durably(path, lambda file: np.save(file, latents))
        self.latents = np.load(path)
        self.model.whitening.copy_(
            latent_whitening(self.model, self.latents, self.store.offsets, self.config.action_block)
        )

    def latent_stage(
        self,
        name: str,
        stage: StageConfig,
        module: nn.Module,
        loss: Callable[[JEPA, Batch, torch.Generator], tuple[Tensor, dict[str, float]]],
        figures: Callable[[int], dict[str, Any]] | None,
        frames: int | None = None,
    ) -> None:
        """One stage on cached latents, which trains one part of the model."""
        config = self.config
        if not stage.steps:
            return
        frames = frames or config.history + 5
        columns = ("pixels",) if name == "pictures" else ("action",)
        Stage(
            name,
            module.requires_grad_(True),
            lambda batch, generator: loss(self.model, batch, generator),
            self.latent_windows(self.training, frames, stage.batch_size, columns),
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            weight_decay=stage.weight_decay,
            optimizer=stage.optimizer,
            seed=config.seed + 1,
            folder=self.folder,
            evaluate=figures,
            save_every=stage.save_every,
            frames_per_step=stage.batch_size * frames,
        ).run()
        module.eval()

    def latent_windows(
        self, episodes: NDArray[np.int64], frames: int, batch_size: int, columns: tuple[str, ...]
    ) -> WindowSampler:
        """Windows of cached latents."""
        config = self.config
        extra = {"latent": self.latents}
        return WindowSampler(
            self.store,
            frames,
            config.action_block,
            batch_size,
            config.seed + 1,
            episodes=episodes,
            columns=columns,
            extra=extra,
        )

    def held_batch(self, frames: int, size: int, columns: tuple[str, ...]) -> Batch:
        """At most `size` held-out windows."""
        stride, held = self.config.action_block, self.held
        windows = int(np.maximum(self.store.lengths[held] - (frames - 1) * stride, 0).sum())
        extra = {"latent": self.latents} if len(self.latents) else {}
        sampler = WindowSampler(
            self.store, frames, stride, max(1, min(size, windows)), 0, episodes=held, columns=columns, extra=extra
        )
        return next(iter(sampler))

    def held_windows(self, frames: int) -> tuple[Tensor, Tensor]:
        """Latents (N, T, L) and actions (N, T - 1, A) of held-out windows."""
        batch = self.held_batch(frames, HELD_OUT, ("action",))
        return batch["latent"], batch["action"]

    def dynamics_figures(self, step: int = 0) -> dict[str, Any]:
        """Open-loop error by horizon on held-out windows."""
        return {"open_loop": open_loop_error(self.model, *self.held_windows(self.config.history + 5))}

    # ------------------------------------------------------------------ the result

    def figures(self) -> dict[str, Any]:
        """What the card says the model was measured to do, on held-out episodes."""
        latents, states = self.rows(self.training[:300]), self.store.column("state", self.training[:300])
        held, held_states = self.rows(self.held), self.store.column("state", self.held)
        to_tensor: Callable[[NDArray[Any]], Tensor] = lambda array: torch.from_numpy(np.asarray(array, np.float32))  # noqa: E731
        visual = self.model.visual_dim
        figures: dict[str, Any] = {"open_loop": self.dynamics_figures()["open_loop"]}
        for kind in ("ridge", "mlp"):
            figures[f"probe_{kind}"] = probe_errors(
                to_tensor(latents[:, :visual]), to_tensor(states), to_tensor(held[:, :visual]), to_tensor(held_states),
                self.store.meta.state_names, kind,
            )  # fmt: skip
        figures["effective_rank"] = round(effective_rank(to_tensor(held[:, :visual])), 2)
        return figures

    def rows(self, episodes: NDArray[np.int64]) -> NDArray[np.float32]:
        """The cached latents of some episodes, of shape (rows, L)."""
        spans = [
            slice(o, o + n) for o, n in zip(self.store.offsets[episodes], self.store.lengths[episodes], strict=True)
        ]
        return np.concatenate([self.latents[span] for span in spans])

    def export(self) -> None:
        """Write the model with its card, and the curves, into the folder."""
        config, meta = self.config, self.store.meta
        stages = ("joint", "dynamics", "temporal", "pictures")
        curves = draw_curves(self.folder, stages)
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
            "figures": self.figures(),
            "planning": config.planning,
        }
        self.model.requires_grad_(True).eval()
        save(self.model, self.folder / "model", card, half=config.half)
        shutil.copy(curves, self.folder / "model" / "curves.png")


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Lend the global generator to module initialisers, which take no other, and give it back as it was."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def commit() -> str | None:
    """The repository's commit this code runs from, None outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
