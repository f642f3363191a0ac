"""`wmplan train`: from a data set to a model that plans, in stages that each go on where they were stopped."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.checked import read_json_checked, write_json_checked
from wmplan.data import DataError, WindowSampler
from wmplan.data.background import find_background
from wmplan.data.fingerprint import fingerprint
from wmplan.data.joined import Joined
from wmplan.data.reader import Reader, open_data
from wmplan.data.resampled import at_rate
from wmplan.data.strip import Strip
from wmplan.data.varied_frames import varied
from wmplan.models import JEPA
from wmplan.models.predictors import HiddenStatePredictor
from wmplan.models.sprite_decoder import SpriteDecoder
from wmplan.training import appearance
from wmplan.training.appearance import appearance_figures, appearance_loss
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.dense_dynamics import dense_dynamics_loss
from wmplan.training.estimate import (
    Estimate,
    SameBatch,
    encoding_seconds,
    left_as_it_was,
    made_up_batch,
    seconds_per_step,
)
from wmplan.training.export import export
from wmplan.training.fingerprint import tensors_hash
from wmplan.training.frozen_encoder import fit_proprio_head, some_episodes, standardise_latents, told
from wmplan.training.goal_pairs import GoalPairs
from wmplan.training.held_out import HeldOut
from wmplan.training.identity import claim, compared, read_record, require_encoder, require_made_from
from wmplan.training.initial_model import STAGE_OF, seeded_initialisation
from wmplan.training.joint import Joint, with_predictor
from wmplan.training.latent_cache import cached_latents
from wmplan.training.latent_stages import (
    critic_loss,
    decoder_loss,
    dynamics_loss,
    encode_episode,
    latent_whitening,
    one_step_changes,
)
from wmplan.training.loggers import Logger, NoLogger, make_logger, require_logger
from wmplan.training.losses import effective_rank
from wmplan.training.measures import collapse_alarm, one_step_error, open_loop_error
from wmplan.training.memory import memory_figures, memory_loss
from wmplan.training.placement import placement_figures, placement_loss
from wmplan.training.precision import multiplies_bfloat16
from wmplan.training.preflight import preflight, report, split
from wmplan.training.pretrained_encoder import encoder_alone, fit_head
from wmplan.training.ranks import Ranks, Share
from wmplan.training.reading import reader_figures, reader_loss
from wmplan.training.runs import carry_out
from wmplan.training.stage import Batch, Batches, Stage
from wmplan.training.symmetric import SymmetricWindows, measure_symmetries
from wmplan.training.windows import PLACEMENT_FRAMES, stage_windows

ADDED_COLUMNS = {"joint": (), "critic": ("latent", "goal", "steps"), "memory": ("latent", "hidden")}
"""What a stage's batches hold beside columns of the data set; `latent` where nothing is said."""
Loss = Callable[[JEPA, Batch, torch.Generator], tuple[Tensor, dict[str, float]]]


def train(config: TrainConfig) -> JEPA:
    """Train, or go on with, the model of `config`; its checkpoint ends up in `out`/model.

    Raises:
        UserError: where the data, the folder or the configuration do not fit together.
    """
    model: JEPA = carry_out(
        lambda ranks: Run(config, ranks), threads=config.threads, device=config.device, devices=config.devices
    )
    return model


def open_all(config: TrainConfig) -> Reader:
    """The data, with what is joined to it."""
    first = open_data(config.data, task=config.task, cameras=config.cameras)
    if not config.more_data:
        return first
    return Joined([first, *(open_data(path, cameras=config.cameras) for path in config.more_data)])


class Run:
    """The stages of one training run over one folder."""

    def __init__(self, config: TrainConfig, ranks: Ranks | None = None) -> None:
        self.config, self.folder, self.ranks = config, Path(config.out), ranks or Ranks()
        require_logger(config.logger)
        self.store = open_all(config)
        with contextlib.suppress(DataError):  # which the checks tell, with all else that is wrong
            self.store = at_rate(self.store, config.control_rate, config.action_kind, config.data_rate)
        record = read_record(config)
        self.training, held = split(config, self.store)
        findings, model = preflight(config, self.store, self.training, held)
        report(findings, config.data, lambda text: print(text, file=sys.stderr))
        assert model is not None  # or else a finding would have said why
        self.model = model
        data = fingerprint(self.store, record and record["data"])
        pretrained = None if config.pretrained is None else tensors_hash(self.encoder_weights())
        self.made_from = claim(config, record, data, pretrained, write=self.ranks.first)
        self.windows = {one.stage: one for one in stage_windows(config)}
        self.held_out = HeldOut(config, self.store, self.training, held)
        self.latents: NDArray[np.float32] = np.empty(0, np.float32)
        self.copies: dict[str, NDArray[np.float32]] = {}
        self.hidden: NDArray[np.float32] = np.empty(0, np.float32)
        self.symmetry_figures: dict[str, dict[str, Any]] = {}
        for one in self.windows.values():
            self.ranks.share(one.batch_size)  # or else there are too few rows
        self.bfloat16 = multiplies_bfloat16(config.precision, self.ranks.device)
        self.logger: Logger = NoLogger()
        if self.ranks.first:
            self.logger = make_logger(config.logger, self.folder, config.name, compared(config))
        self.stage: Stage | None = None
        self.estimate: Estimate | None = None

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
        model = self.model
        known = {name: getattr(model, name).clone() for name in ("whitening", "error_scale")}
        if self.config.pretrained is not None and encoder_alone(self.config.pretrained) is not None:
            path = self.folder / "head.pt"
            self.ranks.first_then_all(lambda: fit_head(model, self.store, self.training, path, self.made_from))
        model.to(self.ranks.device)
        self.train_stage("joint")
        self.see_through_looks()
        self.ranks.align(model)
        model.encoder.requires_grad_(False)
        self.made_from |= {"encoder": tensors_hash(self.encoder_weights())}
        require_encoder(self.folder, self.made_from)
        self.cache_latents()
        self.standardise_latents()
        self.whiten()
        self.fit_proprio_head()
        self.copy_latents()
        self.train_stage("dynamics")
        windows = self.held_out.latent_windows(model.spec.history + 1, self.latents)
        model.error_scale.copy_(one_step_error(model, *windows))
        if self.config.pretrained is not None and not self.config.dynamics.steps:  # the predictor is as it was
            model.load_state_dict(known, strict=False)
        self.train_stage("critic")
        self.train_stage("decoder")
        self.train_stage("reader")
        self.train_stage("placement")
        self.hide_latents()
        self.train_stage("memory")
        model.cpu()
        self.ranks.first_then_all(self.write)
        self.logger.close()
        return model

    def write(self) -> None:
        """The model with its card, by the first process."""
        if self.ranks.first:
            export(self.config, self.store, self.model, self.figures)

    def see_through_looks(self) -> None:
        """The stage `appearance`: a second encoder learns what the first said of the nominal frames."""
        if "appearance" not in self.windows:
            return
        self.cache_latents("taught", self.made_from | {"encoder": tensors_hash(self.encoder_weights())})
        self.whiten()
        with seeded_initialisation(self.config.seed + 3):
            self.model.add_second_look(self.config.appearance_blocks)
        self.model.to(self.ranks.device)
        self.train_stage("appearance")
        taught = self.held_out.batch(1, 4096, self.config.camera_names)
        changes = torch.from_numpy(one_step_changes(self.latents, self.store.offsets, 1))[:, : self.model.visual_dim]
        appearance.set_tolerance(self.model, taught, changes * self.model.visual_std.cpu())

    def train_stage(self, name: str) -> None:
        """Train one stage, or go on with it, unless the run has none of that name."""
        if name not in self.windows:
            return
        self.stage = stage = self.make_stage(name, self.batches(name), self.ranks)
        stage.resume()
        if stage.step < stage.steps:
            if self.estimate is None and self.ranks.first:
                self.estimate = self.estimate_from(name, stage.step)
                self.estimate.say()
            stage.later_seconds = self.estimate.after(name) if self.estimate is not None else 0.0
        if name == "decoder" and stage.step == 0 and isinstance(self.model.decoder, SpriteDecoder):
            whole = self.batches(name, Ranks())
            frames = next(iter(whole))[self.config.camera_names[0]][:, 0]
            self.model.decoder.start_from(frames.to(self.ranks.device))
            stage.batches.load_state_dict(whole.state_dict())
        stage.run()
        stage.module.eval()

    def make_stage(self, name: str, batches: Batches, ranks: Ranks) -> Stage:
        """A stage on given batches, at its beginning, for the processes that train it together."""
        if name == "joint":
            return self.joint_stage(batches, ranks)
        share = ranks.share(self.batch_size(name))
        config, model, module, loss = self.config, self.model, *self.trained_part(name, share)
        settings: StageConfig = getattr(config, name)
        frames = self.windows[name].rows if self.is_dense(name) else self.windows[name].frames
        return Stage(
            name,
            module.requires_grad_(True),
            lambda batch, generator: loss(model, batch, generator),
            batches,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            optimizer=settings.optimizer,
            seed=config.seed + 1,
            folder=self.folder,
            evaluate={
                "appearance": self.appearance_figures,
                "dynamics": self.dynamics_figures,
                "reader": self.reader_figures,
                "placement": self.placement_figures,
                "memory": self.memory_figures,
            }.get(name),
            save_every=settings.save_every,
            frames_per_step=settings.batch_size * frames,
            made_from=self.made_from,
            bfloat16=self.bfloat16,
            ranks=ranks,
            logger=self.logger,
        )

    def joint_stage(self, batches: Batches, ranks: Ranks) -> Stage:
        """Encoder and predictor, end to end."""
        config, settings, frames = self.config, self.config.joint, self.windows["joint"].frames
        with seeded_initialisation(config.seed + 2):
            model = self.model
            if config.joint_predictor is not None and config.dynamics.steps:
                model = with_predictor(model, config.joint_predictor, config.joint_predictor_options)
            joint = Joint(model, config.loss, self.bfloat16, ranks.share(settings.batch_size))
        joint.to(ranks.device)
        held = cache(partial(self.held_out.batch, frames, 256, self.columns("joint")))  # read when it is needed

        def figures(step: int) -> dict[str, Any]:
            batch = held()
            with torch.no_grad():
                latents = model.encode(batch, batch["proprio"] if config.proprio else None)
                visual = latents[..., : model.visual_dim].flatten(0, 1)
                alarm = collapse_alarm(effective_rank(visual), visual.shape[1])
                if alarm["collapsed"] and step > settings.steps // 10:  # before that they have not unfolded yet
                    print(f"collapse alarm: the latents use {alarm['effective_rank']} dimensions", file=sys.stderr)
                open_loop = open_loop_error(model, latents, batch["action"])
            return {**alarm, "open_loop": open_loop, "probe_by_region": self.held_out.probe_by_region(self.model)}

        return Stage(
            "joint",
            joint,
            joint.loss,
            batches,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            optimizer=settings.optimizer,
            seed=config.seed,
            folder=self.folder,
            adamw_part=model.predictor,  # as fast as the encoder, it would leave that less to tell
            after_step=joint.update_target,
            evaluate=figures,
            save_every=settings.save_every,
            frames_per_step=settings.batch_size * frames,
            made_from=self.made_from,
            bfloat16=self.bfloat16,
            ranks=ranks,
            logger=self.logger,
        )

    def trained_part(self, name: str, share: Share) -> tuple[nn.Module, Loss]:
        """What a stage on cached latents trains, and by what."""
        model, config = self.model, self.config
        if name == "appearance":
            return appearance.seconds(model), partial(appearance_loss, bfloat16=self.bfloat16, share=share)
        if name == "critic":
            assert model.critic is not None
            imagined = config.imagined
            return model.critic, partial(critic_loss, expectile=config.expectile, imagined=imagined, share=share)
        if name == "decoder":
            assert model.decoder is not None
            return model.decoder, partial(decoder_loss, share=share)
        if name == "reader":
            assert model.reader is not None
            return model.reader, partial(reader_loss, bfloat16=self.bfloat16, share=share)
        if name == "placement":
            assert model.placement is not None
            return model.placement, partial(placement_loss, share=config.placement_pixels, part=share)
        if name == "memory":
            assert model.memory is not None
            model.predictor.requires_grad_(False)
            return model.memory, partial(memory_loss, share=share)
        loss = dense_dynamics_loss if self.is_dense(name) else dynamics_loss
        options: dict[str, Any] = {"noise": config.latent_noise, "state_weight": config.state_weight}
        return model.predictor, partial(loss, bfloat16=self.bfloat16, share=share, **options)

    def is_dense(self, name: str) -> bool:
        """Whether a stage takes windows of all rows, instead of one a model step."""
        return name == "dynamics" and isinstance(self.model.predictor, HiddenStatePredictor)

    def columns(self, name: str) -> tuple[str, ...]:
        """What a batch of a stage holds of the data set."""
        cameras = self.config.camera_names
        if name == "joint":
            return (*cameras, "action", *(("proprio",) if self.config.proprio else ()))
        looks = tuple(map(varied, cameras))
        looks = looks if set(looks) <= set(self.store.columns) else ()
        return {
            "appearance": appearance.columns(cameras),
            "decoder": cameras[:1],
            "placement": cameras,
            "reader": (*cameras, *looks, "proprio"),
        }.get(name, ("action",))

    def batch_size(self, name: str) -> int:
        """Rows in the batches of a stage, over all processes: equal parts of recorded data and of copies."""
        parts = 1 + len(self.copies if name == "dynamics" else ())
        return max(self.windows[name].batch_size // parts, 1) * parts

    def batches(self, name: str, ranks: Ranks | None = None) -> Batches:
        """What this process has of each batch that a stage trains on.

        The predictor trains on the symmetric copies too, which make equal parts of a batch. The critic has a goal from
        the rest of the episode beside each window.
        """
        windows, seed, columns = self.windows[name], self.config.seed, self.columns(name)
        share = (ranks or self.ranks).share(self.batch_size(name))
        frames, stride = (windows.rows, 1) if self.is_dense(name) else (windows.frames, windows.action_block)
        if name == "joint":
            return WindowSampler(
                self.store,
                frames,
                stride,
                windows.batch_size,
                seed,
                episodes=self.training,
                columns=columns,
                rows=(share.start, share.stop),
            )
        copies = self.copies if name == "dynamics" else {}
        size = self.batch_size(name) // (1 + len(copies))

        def sampler(latents: NDArray[np.float32], number: int, part: int = 0) -> WindowSampler:
            """Of the part of a batch that begins at row part * size."""
            first, last = (min(max(row - part * size, 0), size) for row in (share.start, share.stop))
            own = seed + 1 + 1000 * number  # each copy has an order of its own
            extra: dict[str, NDArray[Any]] = {"latent": latents}
            if name == "critic":
                extra["row"] = np.arange(len(latents))
            if name == "memory":
                extra["hidden"] = self.hidden
            return WindowSampler(
                self.store,
                frames,
                stride,
                size,
                own,
                episodes=self.training,
                columns=columns,
                extra=extra,
                rows=(first, last),
                whole=("row",),
            )

        recorded = sampler(self.latents, 0)
        if name == "critic":
            return GoalPairs(recorded, self.latents, self.store, newest=self.config.history - 1, share=share)
        if not copies:
            return recorded
        numbers = {symmetry: number for number, symmetry in enumerate(self.config.symmetries, start=1)}
        copied = [sampler(latents, numbers[copy], part) for part, (copy, latents) in enumerate(copies.items(), 1)]
        return SymmetricWindows([recorded, *copied], [self.config.symmetries[copy] for copy in copies])

    def estimate_from(self, first: str, step: int) -> Estimate:
        """Seconds of what is still to come, when stage `first` stands at a step; nothing of the model is changed."""
        parts: dict[str, float] = {}
        names = list(self.windows)
        with left_as_it_was(self.model):
            for name in names[names.index(first) :]:
                if name == "appearance" and first == "joint":  # the second encoder is not there yet
                    frames = self.config.appearance.steps * self.config.appearance.batch_size
                    parts[name] = 3 * encoding_seconds(self.model, frames)  # forwards, and backwards twice as long
                    continue
                columns = (*self.columns(name), *ADDED_COLUMNS.get(name, ("latent",)))
                own = replace(self.windows[name], batch_size=max(1, self.batch_size(name) // self.ranks.world))
                batch = made_up_batch(own, self.model, columns, self.is_dense(name))
                stage = self.make_stage(name, SameBatch(batch), Ranks(self.ranks.device))
                parts[name] = seconds_per_step(stage) * (stage.steps - (step if name == first else 0))
                if name == "joint":
                    sides = 1 + len(self.config.symmetries if self.config.dynamics.steps else ())
                    parts["latents"] = encoding_seconds(self.model, self.store.num_rows * sides)
        return Estimate(parts)

    # ------------------------------------------------------------------ the latents

    def cache_latents(self, name: str = "latents", made_from: dict[str, Any] | None = None) -> None:
        """Encode the data set once."""
        self.model.eval()
        path = self.folder / f"{name}.npy"
        encode = partial(encode_episode, self.model, self.store)
        if "joint" not in self.windows and not path.exists():
            Estimate({name: encoding_seconds(self.model, self.store.num_rows)}).say()
        shape = self.model.spec.latent_shape
        self.latents = self.ranks.first_then_all(
            lambda: cached_latents(path, made_from or self.made_from, self.store, shape, encode, self.ranks.first)
        )

    def standardise_latents(self) -> None:
        """Give the latents of an encoder that no joint stage trained mean 0 and deviation 1.

        Not where a part of a pretrained model stays, which knows them as they were.
        """
        config, model = self.config, self.model
        parts = [stage for part, stage in STAGE_OF.items() if getattr(model, part) is not None and part != "reader"]
        stays = config.fine_tune or not all(getattr(config, stage).steps for stage in parts)
        if "joint" in self.windows or stays:
            return
        standardise_latents(model, self.latents, torch.cat(self.training_latents()))
        self.made_from |= {"standardised": True}

    def fit_proprio_head(self) -> None:
        """Fit what reads the robot's state off a goal's image, where no stage trains it and no predictor stays."""
        config, model = self.config, self.model
        if "joint" in self.windows or config.fine_tune or not config.dynamics.steps or model.proprio_head is None:
            return
        path = self.folder / "proprio_head.pt"
        self.ranks.first_then_all(
            lambda: fit_proprio_head(model, self.training_latents(), path, self.made_from, config.seed)
        )
        print(told(self.held_out.proprio_read(model, self.latents)), file=sys.stderr)

    def training_latents(self) -> list[Tensor]:
        """Of training episodes, as many as the fits above take."""
        starts, lengths = (getattr(self.store, of)[self.training].tolist() for of in ("offsets", "lengths"))
        return some_episodes(self.latents, starts, lengths)

    def whiten(self) -> None:
        """Set the scale of the cost, which is measured on the latents."""
        self.model.whitening.copy_(
            latent_whitening(self.model, self.latents, self.store.offsets, self.config.action_block)
        )

    def copy_latents(self) -> None:
        """Measure the declared symmetries, once a run, and encode the copies under those that hold."""
        if not self.config.symmetries or not self.config.dynamics.steps:
            return
        self.ranks.first_then_all(self._copy_latents)

    def hide_latents(self) -> None:
        """Encode the data set once more, each episode behind a strip of its own."""
        if "memory" not in self.windows:
            return

        def encode(index: int) -> NDArray[np.float32]:
            return encode_episode(self.model, self.store, index, strip=Strip.draw(self.config.seed, index))

        path, made_from = self.folder / "latents.hidden.npy", {**self.made_from, "strips": self.config.seed}
        shape = self.model.spec.latent_shape
        self.hidden = self.ranks.first_then_all(
            lambda: cached_latents(path, made_from, self.store, shape, encode, self.ranks.first)
        )

    @cached_property
    def backgrounds(self) -> dict[str, Tensor]:
        """Of each camera, where a symmetry leaves them in place."""
        if not any(symmetry.background for symmetry in self.config.symmetries.values()):
            return {}
        return {camera: find_background(self.store, camera) for camera in self.model.spec.cameras}

    def _copy_latents(self) -> None:
        path = self.folder / "symmetries.json"
        if not path.exists():
            figures = measure_symmetries(self.config, self.model, self.held_out, self.latents, self.backgrounds)
            write_json_checked(path, {"made_from": self.made_from, "figures": figures})
        document = read_json_checked(path)
        require_made_from(path, document["made_from"], self.made_from)
        self.symmetry_figures = document["figures"]
        for name, figures in self.symmetry_figures.items():
            if figures["used"]:
                symmetry = self.config.symmetries[name]
                encode = partial(
                    encode_episode, self.model, self.store, symmetry=symmetry, backgrounds=self.backgrounds
                )
                self.copies[name] = cached_latents(
                    self.folder / f"latents.{name}.npy",
                    {**self.made_from, "symmetry": name},
                    self.store,
                    self.model.spec.latent_shape,
                    encode,
                    self.ranks.first,
                )

    @cached_property
    def held_out_looks(self) -> Batch:
        """Held-out frames in both looks, and what is taught of them."""
        return self.held_out.batch(1, 1024, self.columns("appearance"), latent=self.latents)

    def appearance_figures(self, step: int = 0) -> dict[str, Any]:
        """How far the latents of held-out frames are from what is taught."""
        return appearance_figures(self.model, self.held_out_looks)

    @cached_property
    def held_out_states(self) -> Batch:
        """Held-out frames, in both looks where the data has them, and the robot's states."""
        return self.held_out.batch(1, 2048, self.columns("reader"))

    def reader_figures(self, step: int = 0) -> dict[str, Any]:
        """How far off the states of held-out frames are read."""
        return reader_figures(self.model, self.held_out_states)

    @cached_property
    def held_out_moves(self) -> Batch:
        """Windows of held-out frames with their latents."""
        return self.held_out.batch(PLACEMENT_FRAMES, 512, self.columns("placement"), latent=self.latents)

    def placement_figures(self, step: int = 0) -> dict[str, Any]:
        """How far off held-out latents are whose robot was put elsewhere."""
        return placement_figures(self.model, self.held_out_moves, self.config.placement_pixels)

    @cached_property
    def held_out_hidden(self) -> Batch:
        """Held-out windows with their latents, as they are and behind strips."""
        windows = self.windows["memory"]
        return self.held_out.batch(windows.frames, 1024, ("action",), latent=self.latents, hidden=self.hidden)

    def memory_figures(self, step: int = 0) -> dict[str, Any]:
        """How far off what is believed of hidden frames is."""
        return memory_figures(self.model, self.held_out_hidden)

    def dynamics_figures(self, step: int = 0) -> dict[str, Any]:
        """Open-loop error by horizon on held-out windows."""
        return {"open_loop": self.held_out.open_loop(self.model, self.latents)}

    def figures(self) -> dict[str, Any]:
        """What the card says the model was measured to do."""
        symmetries = {"symmetries": self.symmetry_figures} if self.symmetry_figures else {}
        reading = self.reader_figures() if self.model.reader is not None and self.config.reader.steps else {}
        placing = self.placement_figures() if self.model.placement is not None and self.config.placement.steps else {}
        remembering = self.memory_figures() if "memory" in self.windows else {}
        return self.held_out.card_figures(self.model, self.latents) | symmetries | reading | placing | remembering
