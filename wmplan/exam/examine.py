"""What `wmplan physics` runs: a model and its controls sit an exam, and every figure goes into one file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.atomic_io import write_durably, write_json
from wmplan.errors import UserError
from wmplan.evaluation.machine import date, machine, versions
from wmplan.exam.controls import CopyLastFrame, TrueSimulator
from wmplan.exam.examinees import Model, load_any, subject_of, untrained
from wmplan.exam.pixel_predictor import train
from wmplan.exam.progress import FOLDER, SETTINGS, Arrays, Progress, packed, weights_sha256
from wmplan.exam.quadruplet import ExamSource, Quadruplet
from wmplan.exam.scoring import OVER_WINDOWS, Sitting, described, figures, over_time, over_windows, pairs_won
from wmplan.exam.subject import Array, Subject, Window
from wmplan.models.checkpoint import finite_or_null
from wmplan.models.loading import sha256
from wmplan.output_folder import check_folder
from wmplan.random_streams import Stream, stream_rng
from wmplan.registry import EXAMS
from wmplan.settings.numbers import MAX_SEED, whole_number
from wmplan.settings.suggest import did_you_mean

RESULT, EXAMPLES = "exam.json", "examples.npz"
MARKS = (RESULT, f"{FOLDER}/{SETTINGS}")
"""Files that only an exam leaves."""
TOGETHER = 8
"""Quadruplets that are held in memory and shown at once."""
MODEL, TWINS = "model", "identical twins"
TRAINING_SHARE = 10
"""Quadruplets a property whose possible clips the pixel predictor is trained on."""
MOST_PAIRS = 100_000


def physics(
    model: str | Path | Model,
    out: str | Path | None,
    *,
    exam: str = "scenes",
    properties: Sequence[str] = (),
    pairs: int = 200,
    choice_pairs: int = 20,
    untrained_networks: int = 10,
    pixel_steps: int = 500,
    seed: int = 0,
    device: str | None = None,
) -> dict[str, Any]:
    """Ask a model whether impossible clips surprise it more than possible ones.

    What is finished is kept in `out`/progress: the same call goes on there after a kill, and with more pairs it adds to
    those that are there.

    Args:
        model: a shipped name, the path of a world model or of what wmplan pretrain wrote, or a model.
        out: the folder to write into; None writes nothing.
        exam: where clips come from; "scenes" are those without a robot, "pusht" and "arm_reach" ask about these tasks.
        properties: names of those to ask for; none for all that the exam has.
        pairs: pairs of worlds a property, each two possible and two impossible clips; every second one is occluded.
        choice_pairs: pairs a property, others, on which the window is chosen, and how a clip's surprise comes from its
            windows' (OVER_WINDOWS), once for all properties.
        untrained_networks: how many of the model's architecture, with random weights, sit it too.
        pixel_steps: training steps of a pixel predictor of the model's size; 0 for none.
        seed: of the clips.
        device: for the model; null for what the machine has.

    Returns:
        The content of exam.json, see wmplan.exam.

    Raises:
        UserError: naming what is wrong, also where model and exam do not fit together.
    """
    pairs = whole_number(pairs, "pairs", 2, MOST_PAIRS)
    choice_pairs = whole_number(choice_pairs, "choice_pairs", 1, MOST_PAIRS)
    untrained_networks = whole_number(untrained_networks, "untrained_networks", 0, 1000)
    pixel_steps, seed = whole_number(pixel_steps, "pixel_steps", 0), whole_number(seed, "seed", 0, MAX_SEED)
    folder = None if out is None else check_folder(out, "an exam", MARKS, [RESULT, EXAMPLES, "report.html"])
    make = EXAMS[exam]
    loaded = load_any(model, device) if isinstance(model, str | Path) else model
    subject = subject_of(loaded, MODEL)
    with contextlib.closing(make(subject.image_size)) as source:
        subject.check_actions(source.action_dim)
        asked = asked_for(properties, source)
        candidates = subject.windows(source.length)
        size = sum(weight.numel() for weight in loaded.parameters())
        made_from = {
            "weights": weights_sha256(loaded),
            "exam": exam,
            "properties": asked,
            "choice_pairs": choice_pairs,
            "untrained_networks": untrained_networks,
            "pixel_steps": pixel_steps,
            "seed": seed,
            "windows": [asdict(one) for one in candidates],
            "over_windows": list(OVER_WINDOWS),
            "versions": versions(),
        }
        progress = Progress(folder, made_from)
        controls: list[Subject] = [CopyLastFrame(subject.image_size)]
        if pixel_steps:
            clips = partial(training_clips, source, asked, seed)
            controls.append(train(clips, subject.image_size, size, candidates[0].stride, pixel_steps, seed, progress))
        choosing: dict[Subject, list[Window]] = {subject: candidates}
        choosing |= {one: one.windows(source.length) for one in controls}
        chosen = choose_windows(choosing, source, asked, choice_pairs, seed, progress)
        readings = {one: Reading(found["window"], found["over_windows"]) for one, found in chosen.items()}
        own = readings[subject]
        simulator = TrueSimulator(source, subject.image_size)
        readings |= dict.fromkeys(untrained(loaded, untrained_networks), own)
        readings[simulator] = Reading(simulator.windows(source.length)[0], "mean")
        sat = sit(readings, subject, source, asked, pairs, seed, progress)
        units = dict(source.properties)
        rate = source.rate
    result: dict[str, Any] = {
        "schema": 1,
        "date": date(),
        "exam": exam,
        "seed": seed,
        "pairs": pairs,
        "frames": source.length,
        "rate": rate,
        "severity": {name: units[name] for name in asked},
        "model": {
            "name": loaded.card.get("name", str(model) if isinstance(model, str | Path) else type(loaded).__name__),
            "sha256": sha256(model) if isinstance(model, str | Path) else None,
            "parameters": size,
        },
        "windows": {one.name: {**found, "window": asdict(found["window"])} for one, found in chosen.items()},
        "settings": {
            "model": str(model) if isinstance(model, str | Path) else None,
            "exam": exam,
            "properties": list(properties),
            "pairs": pairs,
            "choice_pairs": choice_pairs,
            "untrained_networks": untrained_networks,
            "pixel_steps": pixel_steps,
            "seed": seed,
        },
        **sat.content(asked),
        "machine": machine(1),
        "versions": versions(),
    }
    result = finite_or_null(result)
    if folder is not None:
        write_durably(folder / EXAMPLES, lambda file: file.write(packed(sat.examples)))
        write_json(folder / RESULT, result, indent=1)
    return result


def asked_for(properties: Sequence[str], source: ExamSource) -> list[str]:
    """The properties to ask for, in the exam's order.

    Raises:
        UserError: at one that the exam does not have.
    """
    for name in properties:
        if name not in source.properties:
            raise UserError(f"this exam has no property {name!r}; {did_you_mean(name, source.properties)}")
    return [name for name in source.properties if name in properties or not properties]


def quadruplets(
    source: ExamSource, name: str, indices: Sequence[int], seed: int, stream: Stream
) -> Iterator[Quadruplet]:
    """Those of a property, each from a generator of its own."""
    number = list(source.properties).index(name)
    for index in indices:
        yield source.quadruplet(name, index, stream_rng(seed, stream, number, index))


def training_clips(source: ExamSource, asked: Sequence[str], seed: int) -> NDArray[np.uint8]:
    """Possible clips (N, T, H, W, 3) that occur in no exam."""
    found = []
    for name in asked:
        for one in quadruplets(source, name, range(TRAINING_SHARE), seed, Stream.EXAM_TRAINING):
            found += [*one.frames, one.recoloured]
    return np.stack(found)


class Reading(NamedTuple):
    """How a subject is examined: its window, and how surprise comes from a clip's windows, see OVER_WINDOWS."""

    window: Window
    over_windows: str


def choose_windows(
    subjects: Mapping[Subject, Sequence[Window]],
    source: ExamSource,
    asked: Sequence[str],
    pairs: int,
    seed: int,
    progress: Progress,
) -> dict[Subject, dict[str, Any]]:
    """For each subject the reading with the best mean over all properties, on clips that are not those of the exam.

    Returns:
        For each: `window`, `over_windows`, and `tried`, what each candidate reached.
    """
    reached: dict[Subject, list[NDArray[np.float64]]] = {one: [] for one in subjects}
    for name in tqdm(asked, desc="choosing windows", unit="property", disable=None, leave=False):
        found = progress.arrays(f"choice-{name}", partial(_won, subjects, source, name, pairs, seed))
        for number, one in enumerate(subjects):
            reached[one].append(found[str(number)])
    chosen = {}
    for one, windows in subjects.items():
        candidates = [Reading(window, how) for how in OVER_WINDOWS for window in windows]
        means = np.mean(reached[one], axis=0).ravel()
        tried = [
            {**asdict(window), "over_windows": how, "pairwise": float(mean)}
            for (window, how), mean in zip(candidates, means, strict=True)
        ]
        chosen[one] = {**candidates[int(np.argmax(means))]._asdict(), "tried": tried}
    return chosen


def _won(subjects: Mapping[Subject, Sequence[Window]], source: ExamSource, name: str, pairs: int, seed: int) -> Arrays:
    """The share of a property's pairs that each subject, by its number, wins, (OVER_WINDOWS, its windows)."""
    won: dict[Subject, list[NDArray[np.float64]]] = {one: [] for one in subjects}
    for batch in in_parts(range(pairs)):
        drawn = list(quadruplets(source, name, batch, seed, Stream.EXAM_CHOICE))
        for one, windows in subjects.items():
            sat = one.sit(drawn, windows)
            won[one].append(
                np.array([[pairs_won(over_windows(values, how)) for values in sat] for how in OVER_WINDOWS])
            )  # (OVER_WINDOWS, windows, quadruplets, 2)
    return {str(number): np.concatenate(won[one], axis=2).mean((2, 3)) for number, one in enumerate(subjects)}


def in_parts(indices: range) -> list[range]:
    return [indices[start : start + TOGETHER] for start in range(0, len(indices), TOGETHER)]


class Answers:
    """What the subjects made of the clips, and a few clips to look at."""

    def __init__(self) -> None:
        self.sittings: dict[str, dict[str, Sitting]] = {}
        self.examples: dict[str, NDArray[Any]] = {}
        self.hashes: list[str] = []

    def content(self, asked: Sequence[str]) -> dict[str, Any]:
        """For exam.json."""
        rows = {
            subject: {name: figures(sitting) for name, sitting in by_property.items()}
            for subject, by_property in self.sittings.items()
        }
        own = self.sittings[MODEL]
        return {
            "clips_sha256": hashlib.sha256("".join(self.hashes).encode()).hexdigest(),
            "rows": {
                subject: {
                    "mean": float(np.mean([found[name]["pairwise"]["rate"] for name in asked])),
                    "mean_quadruplets": float(np.mean([found[name]["quadruplets"]["rate"] for name in asked])),
                    **found,
                }
                for subject, found in rows.items()
            },
            "over_time": {
                name: {
                    "frames_after_break": one.over_time[0].tolist(),
                    "possible": one.over_time[1][0].tolist(),
                    "impossible": one.over_time[1][1].tolist(),
                }
                for name, one in own.items()
            },
            "per_quadruplet": [
                {"property": name, **known, "surprise": surprise.tolist(), "largest": largest.tolist()}
                for name, one in own.items()
                for known, surprise, largest in zip(one.quadruplets, one.surprise, one.largest, strict=True)
            ],
        }

    def keep_examples(self, name: str, examples: Mapping[str, NDArray[Any]]) -> None:
        """The first clips of a property, by whether they are occluded; see example()."""
        self.examples |= {f"{name}/{key}": values for key, values in examples.items()}


def example(one: Quadruplet, surprise: Array, window: Window) -> Arrays:
    """The possible and the impossible clip that begin in A, and the surprise at their windows."""
    key = "occluded" if one.occluded else "in_view"
    return {
        f"{key}/frames": one.clips[[0, 2]],
        f"{key}/surprise": surprise[[0, 2]],
        f"{key}/break_at": np.array(one.break_at),
        f"{key}/ends": window.ends(one.frames.shape[1]),
    }


def sit(
    readings: Mapping[Subject, Reading],
    model: Subject,
    source: ExamSource,
    asked: Sequence[str],
    pairs: int,
    seed: int,
    progress: Progress,
) -> Answers:
    """Let all subjects sit the exam, each with its reading; the model is also shown identical twins."""
    answers = Answers()
    bar = tqdm(total=pairs * len(asked), desc="exam", unit="pair", disable=None)
    used = {one.name: reading for one, reading in readings.items()} | {TWINS: readings[model]}
    for name in asked:
        pieces = []
        for batch in in_parts(range(pairs)):
            piece = f"{name}-{batch.start:06d}-{batch.stop:06d}"
            pieces.append(progress.arrays(piece, partial(_sit, readings, model, source, name, batch, seed)))
            bar.update(len(batch))
        known = [one for piece in pieces for one in json.loads(str(piece["known"]))]
        examples = [key for key in pieces[0] if key.startswith("example/")]
        answers.keep_examples(name, {key.removeprefix("example/"): pieces[0][key] for key in examples})
        answers.hashes += [one["sha256"] for one in known]
        breaks = [one["break_at"] for one in known]
        for subject, (window, how) in used.items():
            values = np.concatenate([piece[f"surprise/{subject}"] for piece in pieces])
            shown = over_time(values, breaks, window, source.length)
            sitting = Sitting(known, over_windows(values, how), values.max(-1), shown)
            answers.sittings.setdefault(subject, {})[name] = sitting
    bar.close()
    return answers


def _sit(
    readings: Mapping[Subject, Reading], model: Subject, source: ExamSource, name: str, batch: range, seed: int
) -> Arrays:
    """The surprise (Q, 5, count) of each subject at a few quadruplets, what is known of these, and the first clips."""
    drawn = list(quadruplets(source, name, batch, seed, Stream.EXAM))
    found = {f"surprise/{one.name}": one.sit(drawn, [reading.window])[0] for one, reading in readings.items()}
    found[f"surprise/{TWINS}"] = model.sit([one.twins for one in drawn], [readings[model].window])[0]
    found["known"] = np.array(json.dumps([described(one) for one in drawn]))
    if batch.start == 0:
        for one, surprise in zip(drawn[:2], found[f"surprise/{model.name}"], strict=False):
            found |= {
                f"example/{key}": values for key, values in example(one, surprise, readings[model].window).items()
            }
    return found
