"""The page of a validation: one file that a browser shows without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.atomic_io import write_durably
from wmplan.counted import counted
from wmplan.errors import UserError
from wmplan.report.charts import card
from wmplan.report.page import command_card, facts_list, page, video
from wmplan.report.plots import Bar, Line, bar_chart, histogram, line_chart
from wmplan.report.videos import film_frame, write_mp4
from wmplan.validation import imagined
from wmplan.validation.verdict import LEAST_BEATEN, MOST_RATIO

Json = Mapping[str, Any]
FILM_FPS = 4
"""Model steps a second, slow enough to compare."""


def write_validation_report(folder: str | Path) -> Path:
    """Make report.html of a validation's folder, with films where the model has a decoder.

    Raises:
        UserError: if the folder holds no validation.
    """
    folder = Path(folder)
    try:
        result = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/validation.json cannot be read ({error}): run wmplan validate first") from None
    text = render(result, make_films(folder))
    path = folder / "report.html"
    write_durably(path, lambda file: file.write(text.encode()))
    return path


def make_films(folder: Path) -> list[tuple[str, bytes]]:
    """A film (mp4) of each window that was imagined, with what it shows."""
    made = []
    for one in tqdm(imagined.load(folder), desc="films", unit="film", disable=None, leave=False):
        last = len(one.real) - 1
        pictures = [
            film_frame({"recorded": real, "imagined": guess}, f"model step {step} of {last}")
            for step, (real, guess) in enumerate(zip(one.real, one.imagined, strict=True))
        ]
        path = write_mp4(folder / "imagined" / f"{one.episode:06d}.mp4", pictures + pictures[-1:] * 3, FILM_FPS)
        made.append((f"episode {one.episode}, from row {one.row}", path.read_bytes()))
    return made


def render(result: Json, films: Sequence[tuple[str, bytes]] = ()) -> str:
    """The page of a validation.json."""
    data, model = result["data"], result["model"]
    held = {True: "held-out", False: "TRAINED-ON", None: "maybe trained-on"}[data["held_out"]]
    shown = "".join(
        f'<figure class="card">{video(film)}<figcaption><span class="soft">{escape(said)}</span></figcaption></figure>'
        for said, film in films
    )
    body = [
        f'<div class="card" style="font-size:1.1rem"><b>{escape(result["verdict"])}.</b></div>',
        f'<p class="soft" style="margin-top:10px">{escape(data["said"])}.</p>',
        f'<div class="grid">{charts(result)}</div>',
        f'<h2>Imagined beside recorded</h2><p class="soft">Where most moves.</p><div class="films">{shown}</div>'
        if shown
        else "",
        f'<h2>By horizon</h2><div class="card scroll">{by_horizon(result)}</div>',
        f'<h2>How it was measured</h2><div class="grid">{facts(result)}</div>',
    ]
    return page(
        f"{model['name']} without the robot",
        f"{counted(len(data['episodes']), f'{held} episode')} of {data['path']}",
        tiles(result),
        "".join(body),
        result["date"],
    )


def tiles(result: Json) -> list[tuple[str, str]]:
    """The figures that matter most."""
    rank, last = result["action_rank"], len(result["planned_actions"]["action_score"]) - 1
    shown = [
        (f"{result['score']:.0f}", "score of 100, to rank models by"),
        (f"{result['trusted_seconds']:g} s", f"ahead ({result['trusted_steps']} model steps) plans can be trusted"),
        (f"{rank['rank'][last]:g}", f"rank of the recorded actions among {rank['candidates']} random ones, median"),
        (f"{result['planned_actions']['action_score'][last]:.0f}", "action score of whole plans, of 100"),
    ]
    if (usual := result["surprise"]) is not None:
        shown.append((text(usual["threshold"]), "surprise that 5 % of the frames pass"))
    return shown


def charts(result: Json) -> str:
    """Cards of charts."""
    loop, rank, planned = result["open_loop"], result["action_rank"], result["planned_actions"]
    seconds = result["seconds"]
    near = seconds[: len(planned["action_error"])]
    names = (("error", "recorded actions", 0), ("idle", "doing nothing", 1), ("copy", "copy of the last frame", 5))
    error = [Line(label, seconds, loop[name], None, colour) for name, label, colour in names]
    beats = [
        Line("random", seconds, rank["beats_random"], None, 5),
        Line("recorded elsewhere", seconds, rank["beats_recorded"], None, 0),
        Line("blended with those", seconds, rank["beats_blended"], None, 1),
    ]
    chance = [
        Line("planned", near, planned["action_error"], None, 0),
        Line("recorded elsewhere", near, planned["action_error_chance"], None, 5),
    ]
    least = (LEAST_BEATEN, f"{LEAST_BEATEN:.0%}")
    shown = [
        card(
            "Open-loop error",
            line_chart("Open-loop error", error, "seconds ahead", "steps' usual change"),
            "Of predicted latents, whitened: 1 is what usually changes in one model step.",
        ),
        card(
            "Error over that of copying",
            line_chart("Ratio", [Line("", seconds, loop["ratio"])], "seconds ahead", "", guide=(MOST_RATIO, "trusted")),
        ),
        card(
            "Do the recorded actions cost least?",
            line_chart("Rank", beats, "seconds to the goal", "share that costs more", y_range=(0, 1.05), guide=least),
            "By the planner's own cost; the goal is the frame that the recorded actions led to.",
        ),
        card(
            "Planned beside recorded actions",
            line_chart("Action error", chance, "seconds to the goal", "action error"),
            "Difference of the actions' sums, over entries, as jepa-wms measures it.",
        ),
        card(
            "Does the prediction depend on each entry of the action?",
            use_chart(result["action_use"]),
            "Share of an entry's variance that is read off the predicted change of one model step, beside the recorded "
            "one (grey); orange where the data shows it and the prediction does not.",
        ),
        card("What the score is made of", score_chart(result["score_parts"])),
    ]
    if (usual := result["surprise"]) is not None:
        finite = [value for value in usual["by_episode"] if value is not None]
        marks = [(value, "5 % of episodes") for value in [usual["threshold_episode"]] if value is not None]
        shown.append(
            card(
                "Highest surprise of each episode",
                histogram("Surprise", finite, "standardised error", marks, "episodes"),
                f"{usual['above_usual']:.0%} of single frames are above 1, the model's usual error.",
            )
        )
    if result["neighbours"]["goals"]:
        shown.append(card("Goal images", goal_table(result["neighbours"])))
    return "".join(shown)


def use_chart(entries: Sequence[Json]) -> str:
    """Bars of each entry, to the model and in the data."""
    bars = []
    for one in entries:
        colour = 0 if one["predicted"] else 1
        bars.append(Bar(one["name"], one["in_model"], None, f"{one['in_model']:.2f}", colour))
        bars.append(Bar("in data", one["in_data"], None, f"{one['in_data']:.2f}", 5))
    return bar_chart("Use of the action", bars, "share of the entry's variance", percent=True)


def score_chart(parts: Json) -> str:
    """Bars of the parts of the score."""
    bars = [Bar(name, value, None, f"{value:.2f}") for name, value in parts.items()]
    return bar_chart("Parts of the score", bars, "their geometric mean is the score", percent=True)


def goal_table(near: Json) -> str:
    """How far goal images lie from the data."""
    lines = ["<tr><th>goal</th><th>distance</th><th>of the data's frames as far</th></tr>"]
    for one in near["goals"]:
        lines.append(
            f"<tr><td>{escape(one['goal'])}</td><td>{text(one['distance'])}</td><td>{one['share']:.0%}</td></tr>"
        )
    own = f"The data's own: median {text(near['median'])}, 95 % within {text(near['p95'])}."
    return f'<div class="scroll"><table>{"".join(lines)}</table></div><p class="soft">{own}</p>'


def by_horizon(result: Json) -> str:
    """All figures by model step."""
    columns = {
        "seconds": result["seconds"],
        **{name: result["open_loop"][name] for name in ("error", "idle", "copy", "ratio")},
        **{name: result["action_rank"][name] for name in ("rank", "beats_random", "beats_recorded", "beats_blended")},
        **{name: result["action_rank"][name] for name in ("spread", "own_cost")},
        **{name: result["planned_actions"][name] for name in ("action_error", "action_score")},
    }
    heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in columns)
    lines = [f"<tr><th>step</th>{heads}</tr>"]
    for step in range(result["steps"]):
        cells = (text(values[step]) if step < len(values) else "–" for values in columns.values())
        lines.append(f"<tr><td>{step + 1}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def facts(result: Json) -> str:
    """Model, planning, machine and the command."""
    goals = {"goals": f"[{','.join(result['settings']['goals'])}]"} if result["settings"]["goals"] else {"goals": None}
    cards = {
        "Model": result["model"],
        "Planning": {name: result["planning"][name] for name in ("planner", "objective")},
        "Machine and versions": {**result["machine"], **result["versions"]},
    }
    shown = "".join(f'<div class="card"><h3>{name}</h3>{facts_list(content)}</div>' for name, content in cards.items())
    return shown + command_card("wmplan validate", {**result["settings"], **goals, "out": "DIR"})


def text(value: float | None) -> str:
    """A number for people."""
    return "–" if value is None else f"{value:.3g}"
