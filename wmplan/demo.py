"""One episode, told while it happens: a planner reaches a goal image in the latent space of a shipped model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably, write_json
from wmplan.control.make import make_controller, planning_settings
from wmplan.data.registered import make_environment
from wmplan.diagnosis.replan_analysis import Recorder
from wmplan.diagnosis.summary import readable
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.evaluation.fit import require_fit
from wmplan.evaluation.instances import Instance, generate_instances
from wmplan.evaluation.machine import date, machine, versions
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.success import success_now
from wmplan.machine import CoreWait
from wmplan.models.base import WorldModel
from wmplan.models.loading import load
from wmplan.models.precision import take_dtype
from wmplan.models.state_probe import state_errors
from wmplan.output_folder import check_folder, make_folder
from wmplan.planning.planner import Plan
from wmplan.registry import task_id
from wmplan.report.charts import card
from wmplan.report.page import command_card, facts_list, page, task_name, video
from wmplan.report.plan_picture import PlanView, image_tag, imagined_frames, plan_picture
from wmplan.report.plots import Line, line_chart
from wmplan.report.videos import episode_film, film_frame, write_mp4
from wmplan.settings.difference import difference
from wmplan.settings.dtypes import check_dtype
from wmplan.settings.numbers import MAX_SEED, whole_number

Picture = NDArray[np.uint8]
STILL_PX = 256
MARKS = ("episode.mp4", "demo.json")
AFTERWARDS = 5
"""Robot steps that are shown after the goal is reached."""


@dataclass
class Story:
    """What happened.

    Attributes:
        frames: what the camera saw, before each robot step and after the last.
        states: full simulator states at the same times.
        distance: to the goal, at the same times.
        imagined: the end of the plan in force, as the model imagines it, at the same times; empty without a decoder.
        plan_step: robot step of each plan.
        plan_ms, plan_cost: milliseconds from frame to action, and the chosen plan's cost.
        success_step: robot steps after which the goal was reached, None if it was not.
        busy: a warning, where other programs took the processor meanwhile and the times are too long.
    """

    frames: list[Picture]
    states: list[NDArray[np.float64]]
    distance: list[float]
    imagined: list[Picture]
    plan_step: list[int]
    plan_ms: list[float]
    plan_cost: list[float]
    success_step: int | None = None
    busy: str | None = None


def run_demo(
    out: str | Path = "demo",
    model: str = "pusht",
    seed: int = 0,
    device: str | None = None,
    dtype: str = "auto",
    *,
    task_id: str | None = None,
    budget: int = 50,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Plan to the goal image of one held-out instance, and write what happened into a folder.

    Args:
        out: the folder, made if it is missing: episode.mp4, plan.png, still.png, report.html and demo.json.
        model: a shipped model's name, or a path.
        seed: of the instance and the planner.
        device: for the model: cpu, cuda, cuda:1, mps; auto, or null, for CUDA where there is any.
        dtype: what the model's rollouts multiply in: float32, bfloat16, or auto for bfloat16 where that is faster here
            and the model's card says that it plans as well.
        task_id: Gymnasium id of the task; None for the one on the model's card.
        budget: robot steps to reach the goal in.
        say: takes the lines that are told as it goes.

    Returns:
        The content of demo.json.

    Raises:
        UserError: if there is no such model, its task is not known, or the folder holds something else.
    """
    began = time.perf_counter()
    folder = check_folder(out, "a demo", MARKS, ("plan.png", "still.png", "report.html"))
    seed, budget = whole_number(seed, "seed", 0, MAX_SEED), whole_number(budget, "budget", 1)
    check_dtype(dtype)
    loaded = load(model, device)
    task = task_id or task_of(loaded, model)
    env = make_environment(task, {"image_size": tuple(loaded.spec.image_size)})
    try:
        require_fit(loaded, model, env, task)
        instance = generate_instances(env, Protocol(budget=budget), 1, seed)[0]
        instance.start(env)
        introduce(loaded, model, env, budget, say)
        say(f"planning in {take_dtype(loaded, dtype)}")
        make_folder(folder)
        settings = {"model": model, "seed": seed, "task_id": task_id, "budget": budget, "out": str(out)}
        if (before := settings_before(folder)) and (other := difference(before, settings, "a demo", ["out"])):
            say(f"{folder} held {other}: it is replaced")
        views: list[PlanView] = []
        story = play_aloud(loaded, env, instance, seed, budget, views, say)
        goal = env.goal_observation()["pixels"]
        film = write_mp4(
            folder / "episode.mp4",
            episode_film(story.frames, goal, success_step=story.success_step, imagined=story.imagined or None, hold=12),
            env.control_rate,
        )
        say(f"wrote {film}: {'camera, goal and the imagined end of the plan' if story.imagined else 'camera and goal'}")
        view = views[0]
        pictures = plan_picture(env, loaded, view), plan_picture(env, loaded, view, narrow=True)
        write_durably(folder / "plan.png", lambda file: file.write(pictures[0]))
        say(f"wrote {folder / 'plan.png'}: the candidates of the first plan, and where they lead")
        write_still(folder / "still.png", env, instance, story)
        found = summary(story, loaded, task, settings)
        write_json(folder / "demo.json", found, indent=1)
        text = demo_page(found, story, film.read_bytes(), pictures, loaded)
        write_durably(folder / "report.html", lambda file: file.write(text.encode()))
        say(f"wrote {folder / 'report.html'}: all of it in one page; open it in a browser")
    finally:
        env.close()
    say(f"done in {time.perf_counter() - began:.0f} s")
    return found


def settings_before(folder: Path) -> dict[str, Any] | None:
    """The settings of the demo that the folder holds, None where there is none that can be read."""
    try:
        settings = json.loads((folder / "demo.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return settings if isinstance(settings, dict) else None


def task_of(model: WorldModel, name: str) -> str:
    """The Gymnasium id of the task on a model's card."""
    task = model.card.get("task")
    if not isinstance(task, str):
        raise UserError(f"model {name} does not say which task it is for: give task_id=ID, a Gymnasium id")
    return task_id(task)


def introduce(model: WorldModel, name: str, env: PlanningEnvironment, budget: int, say: Callable[[str], None]) -> None:
    """Say what is planned with, and what for."""
    spec, task = model.spec, env.task
    numbers = int(np.prod(spec.latent_shape))
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    size, block = f"{spec.image_size[1]} x {spec.image_size[0]}", spec.action_block
    say(
        f"model {name}: {parameters:.1f} M parameters; a {size} camera frame becomes {numbers} numbers, "
        f"one prediction is {block} robot steps ({block / spec.control_rate:g} s)"
    )
    state = env.task_state()
    change = state_errors(state, env.goal, task.state_names)
    parts = ", ".join(readable(n, float(c)) for n, c in zip(task.state_names, change, strict=True))
    say("goal: an image, of a moment on a trajectory that no training has seen")
    say(f"what has to change, unknown to the planner: {parts}")
    distance = float(task.distance(state, env.goal))
    say(f"distance to the goal: {distance:.2f} (about 1 counts as reached); {budget} robot steps to get there")


def play_aloud(
    model: WorldModel,
    env: PlanningEnvironment,
    instance: Instance,
    seed: int,
    budget: int,
    views: list[PlanView],
    say: Callable[[str], None],
) -> Story:
    """Play the instance; each search joins `views`, each plan is told."""
    controller = make_controller(model)
    recorder = Recorder(controller)
    goal = {"pixels": env.goal_observation()["pixels"]}
    controller.reset(goal, seeds=[seed])
    controller.act(env.observe())  # the first plan of a process is slow: not counted, and forgotten
    controller.reset(goal, seeds=[seed])
    recorder.clear()
    story = Story([], [], [], [], [], [], [])
    ending: Picture | None = None
    wait = CoreWait()
    for step in range(budget + 1):
        observation = env.observe()
        story.frames.append(observation["pixels"])
        story.states.append(env.get_state())
        story.distance.append(float(env.task.distance(env.task_state(), env.goal)))
        if success_now(env) and story.success_step is None:
            story.success_step = step
            say(f"step {step:2}: the goal is reached, after {step / env.control_rate:.1f} s of robot time")
        over = step == budget or (story.success_step is not None and step >= story.success_step + AFTERWARDS)
        action = None if over else controller.act(observation)
        if not over and controller.planned:
            cost, plan = recorder.searches[-1]
            views.append(PlanView(step, env.get_state(), cost, plan))
            imagined = imagined_frames(model, views[-1])
            ending = None if imagined is None else imagined[-1]
            story.plan_step.append(step)
            story.plan_ms.append(controller.plan_ms)
            story.plan_cost.append(float(plan.cost[0]))
            tell(step, story, plan, say)
        if ending is not None:
            story.imagined.append(ending)
        if action is None:
            break
        env.step_physics(action)  # type: ignore[arg-type]
    story.busy = wait.warning()
    if story.busy is not None:
        say(f"the times above are longer than usual: {story.busy}")
    if story.success_step is None:
        say(f"step {len(story.frames) - 1:2}: the goal was not reached; closest {min(story.distance):.2f}")
    return story


def tell(step: int, story: Story, plan: Plan, say: Callable[[str], None]) -> None:
    """One line for a plan."""
    futures = sum(costs.shape[1] for costs in plan.diagnostics["candidate_costs"])
    first = float(plan.diagnostics["cost_by_iteration"][0, 0])
    say(
        f"step {step:2}: distance {story.distance[-1]:5.2f}; imagined {futures} futures of {plan.actions.shape[1]} "
        f"predictions in {story.plan_ms[-1]:.0f} ms, cost {first:.3g} -> {float(plan.cost[0]):.3g}"
    )


def write_still(path: Path, env: PlanningEnvironment, instance: Instance, story: Story) -> None:
    """Start, two moments between, the end and the goal, side by side."""
    from PIL import Image

    last = story.success_step if story.success_step is not None else len(story.states) - 1
    shown = [round(last * share) for share in (0, 1 / 3, 2 / 3, 1)]
    panels = {}
    instance.start(env)
    for step in shown:
        env.set_state(story.states[step])
        panels[f"{step / env.control_rate:.1f} s"] = env.render((STILL_PX, STILL_PX))
    panels["goal image"] = env.goal_observation((STILL_PX, STILL_PX))["pixels"]
    picture = film_frame(panels)
    write_durably(path, lambda file: Image.fromarray(picture).save(file, format="PNG"))


def summary(story: Story, model: WorldModel, task: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What happened, in numbers, with the settings that it was asked for by."""
    return {
        "schema": 1,
        "date": date(),
        "model": settings["model"],
        "task": task,
        "seed": settings["seed"],
        "budget": settings["budget"],
        "settings": settings,
        "success": story.success_step is not None,
        "success_step": story.success_step,
        "distance": [round(value, 4) for value in story.distance],
        "plan_step": story.plan_step,
        "plan_ms": [round(value, 1) for value in story.plan_ms],
        "plan_cost": story.plan_cost,
        "busy": story.busy,
        "planning": planning_settings(model),
        "machine": machine(1),
        "versions": versions(),
    }


def demo_page(
    found: dict[str, Any], story: Story, film: bytes, pictures: tuple[bytes, bytes], model: WorldModel
) -> str:
    """The page of a demo, with the first plan's picture for wide and for narrow screens."""
    rate = model.spec.control_rate
    reached = story.success_step
    busy = f"; {story.busy}" if story.busy else ""
    tiles = [
        ("reached" if reached is not None else "not reached", "the goal image"),
        (
            f"{reached / rate:.1f} s" if reached is not None else f"{min(story.distance):.2f}",
            "of robot time" if reached is not None else "closest",
        ),
        (f"{np.median(story.plan_ms):.0f} ms", f"for one plan (median), from frame to action{busy}"),
        (f"{len(story.plan_step)}", "plans"),
    ]
    steps = range(len(story.distance))
    guide = (1.0, "reached below")
    distance = line_chart("Distance", [Line("", steps, story.distance)], "robot step", "task's distance", guide=guide)
    cost = line_chart("Cost", [Line("", story.plan_step, story.plan_cost)], "robot step", "cost of the chosen plan")
    body = (
        f'<h2>The episode</h2><div class="card films" style="display:block">{video(film)}</div>'
        f'<h2>The first plan</h2><div class="card">{image_tag(*pictures, "The first plan")}</div>'
        f'<h2>On the way</h2><div class="grid">{card("Distance to the goal", distance)}'
        f'{card("Cost of each plan", cost)}</div><h2>How</h2><div class="grid">'
        f"{card('Planning', facts_list(flat(found['planning'])))}"
        f"{card('Machine and versions', facts_list({**found['machine'], **found['versions']}))}"
        f"{command_card('wmplan demo', found['settings'])}</div>"
    )
    name = task_name(found["task"])
    return page(
        f"{found['model']} plans to a goal image",
        f"{name}, one held-out instance, seed {found['seed']}",
        tiles,
        body,
        found["date"],
    )


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
