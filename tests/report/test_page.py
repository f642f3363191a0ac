"""The page holds every figure, shows its films and asks for nothing outside itself."""

import base64
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_results
from wmplan.evaluation.intervals import wilson
from wmplan.report.charts import by_start_distance, chart_cards, distance_groups
from wmplan.report.films import choose_films
from wmplan.report.page import gallery, percent, success_table, write_report
from wmplan.report.plots import Bar, Line, draw_bars, draw_histogram, draw_lines, histogram, line_chart

HERE = Path(__file__).parents[1] / "evaluation"  # where the worlds of tests are
VOID = {"meta", "link", "br", "img", "line", "rect", "path", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "poster", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sys.path.insert(0, str(HERE))
    import point_world

    out = tmp_path_factory.mktemp("result")
    planner = {"name": "cem", "num_samples": 4, "num_iterations": 1, "num_elites": 2, "horizon": 2}
    evaluate(
        point_world.PointWorld("reversed"),
        point_world.TASK,
        out,
        planner=planner,
        protocol=Protocol(offset=20, budget=12, episode_steps=40),
        episodes=3,
        planner_seeds=2,
        rows="all",
        workers=1,
    )
    write_report(out, films=2)
    yield out
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_it_is_whole_and_asks_for_nothing_outside_itself(page: Page, folder: Path) -> None:
    assert page.open == []
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    text = (folder / "report.html").read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]
    assert "script" not in page.tags
    assert not re.search(r"\$[a-z]", re.sub(r"base64,[^\"]*", "", text))  # no placeholder is left


def test_it_holds_every_figure_of_the_results(page: Page, folder: Path) -> None:
    results, text = load_results(folder), " ".join(" ".join(page.text).split())
    for name, row in results["rows"].items():
        assert name in text
        for kind in ("success", "success_at_end"):
            for rule in row["rules"].values():
                assert percent(rule[kind]) in text
        low, high = row["success_ci95"]
        assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
        assert percent(row["gap_closed"]) in text and f"{row['final_distance']:.2f}" in text
        if row["plan_ms"]["p50"] is not None:
            assert " / ".join(f"{row['plan_ms'][key]:.1f}" for key in ("p50", "p95", "p99")) in text
    for one in results["per_episode"]:
        assert f"{one['final_distance']:.3f}" in text and f"{one['start_distance']:.3f}" in text
    for value in (results["instances_sha256"], results["model"]["sha256"], results["versions"]["torch"], "wmplan eval"):
        assert value in text
    for name, value in results["planner"].items():
        assert name in text and (value if isinstance(value, str) else json.dumps(value)) in text


def test_a_streams_figures_stand_below_the_rule_that_decides(folder: Path) -> None:
    results = load_results(folder)
    for row in results["rows"].values():
        own = row["rules"].pop(results["protocol"]["rule"])
        nothing = {**own, "success": 0.0, "success_at_end": 0.0}
        row["rules"] = {"first": nothing, "decides": own, "last": nothing}
    results["protocol"]["rule"] = "decides"
    heads, *lines = re.findall("<tr.*?</tr>", success_table(results))
    names = re.findall("<th>(.*?)</th>", heads)
    row = results["rows"]["planner"]
    for number, stream in enumerate(row["streams"]):
        line = next(one for one in lines if f"planner, stream {number}<" in one)
        cells = []
        for span, cell in re.findall('<td(?: colspan="([0-9]+)")?>(.*?)</td>', line):
            cells += [cell] * int(span or 1)
        assert len(cells) == len(names)
        assert cells[names.index("decides<br>any time")].startswith(percent(stream["success"]))
        assert cells[names.index("decides<br>at end")] == percent(stream["success_at_end"])


def test_success_is_shown_as_its_protocol_counts_it(folder: Path) -> None:
    results = load_results(folder)
    results["protocol"]["success"] = "end"
    for row in results["rows"].values():
        row |= {"success": 0.125, "success_at_end": 0.875, "success_at_end_ci95": [0.75, 0.95]}
    for one in results["per_episode"]:
        one |= {"success": True, "success_step": 3, "success_at_end": False}
    charts = chart_cards(folder, results)
    assert "88 %" in charts and "12 %" not in charts and "at the end" in charts and "any time" not in charts
    (record,) = choose_films(results["per_episode"], 1, "success_at_end")
    shown = gallery([(record, b"")], "success_at_end")
    assert "failed" in shown and "there after 3 steps, not at the end" in shown
    assert "failed" not in gallery([(record, b"")], "success")


def test_films_are_in_the_page_as_they_are_in_the_folder(page: Page, folder: Path) -> None:
    films = [base64.b64decode(a.split(",")[1]) for a in page.addresses if a.startswith("data:video/mp4;base64,")]
    assert films == [path.read_bytes() for path in sorted((folder / "episodes").glob("*.mp4"))][: len(films)]
    assert len(films) == 2 == page.tags.count("video")


def test_films_are_not_made_twice(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "episodes").glob("*.mp4")}
    write_report(folder, films=2)
    assert before and before == {path: path.stat().st_mtime_ns for path in (folder / "episodes").glob("*.mp4")}


def test_failures_are_shown_first() -> None:
    records = [{"row": "planner", "success": i % 2 == 0, "instance": i} for i in range(10)]
    shown = [one["success"] for one in choose_films(records, 6)]
    assert shown == [False] * 4 + [True] * 2
    assert len(choose_films(records, 100)) == 10
    assert all(not one["success"] for one in choose_films([one for one in records if not one["success"]], 3))


def test_a_replay_that_fails_is_pointed_out(folder: Path, tmp_path: Path) -> None:
    results = load_results(folder)
    assert results["rows"]["replay"]["success"] < 1  # the budget here is shorter than the way to the goal
    assert "states or rules are wrong" in (folder / "report.html").read_text()
    with pytest.raises(UserError, match="results.json"):
        write_report(tmp_path)


# ------------------------------------------------------------------ charts


def test_bars_are_as_high_as_their_values_and_whiskers_as_their_intervals() -> None:
    axes = Figure().subplots()
    draw_bars(axes, [Bar("a", 0.25, (0.1, 0.5)), Bar("b", 0.5), Bar("c", None)], "", "", percent=True)
    assert [patch.get_height() for patch in axes.patches] == [0.25, 0.5]
    (whisker,) = (one.get_segments() for one in axes.collections)
    np.testing.assert_allclose(whisker[0][:, 1], [0.1, 0.5])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_histogram_counts_every_value() -> None:
    axes = Figure().subplots()
    draw_histogram(axes, np.random.default_rng(0).gamma(3.0, 10.0, 200).tolist(), "ms", [(20.0, "p50 20 ms")])
    assert sum(patch.get_height() for patch in axes.patches) == 200
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["p50 20 ms"]
    assert histogram("t", [], "ms") == "" and "<svg" in histogram("t", [5.0, 5.0], "ms")


def test_lines_pass_through_their_points_and_stop_at_gaps() -> None:
    axes = Figure().subplots()
    draw_lines(axes, [Line("", [0, 1, 2, 3, 4], [0.0, 1.0, None, 1.0, 0.0])], "x", "y", (0, 1))
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [1, 1], [2, np.nan], [3, 1], [4, 0]])
    assert axes.get_ylim() == (0, 1) and axes.get_legend() is None
    assert line_chart("t", [], "x", "y") == "" == line_chart("t", [Line("a", [0], [None])], "x", "y")


def test_charts_take_colours_from_the_page_and_are_the_same_every_time() -> None:
    lines = [Line("<a & b>", [0, 1, 2], [0.0, 2.0, 1.0], [(0, 1), None, (1, 2)], colour=4)]
    svg = line_chart("t < u", lines, "x", "y", guide=(1.0, "rule"))
    assert svg == line_chart("t < u", lines, "x", "y", guide=(1.0, "rule"))
    assert {"--c4", "--soft", "--rule"} <= set(re.findall(r"var\((--\w+)\)", svg))
    assert not set(re.findall(r"#[0-9a-f]{6}", svg)) - {"#ffffff"}  # the figure's own ground, which is not drawn
    assert "<title>t &lt; u</title>" in svg and "&lt;a &amp; b&gt;" in svg
    ElementTree.fromstring(svg.replace("xlink:href", "href"))


def test_groups_by_start_distance_have_wilson_intervals() -> None:
    records = [{"start_distance": float(i), "success": i < 10} for i in range(20)]
    svg = by_start_distance(records, most=2)
    assert ">10/10<" in svg and ">0/10<" in svg
    axes = Figure().subplots()
    draw_bars(axes, distance_groups(records, most=2), "", "", percent=True)
    (low, _), _ = (one.get_segments()[0][:, 1] for one in axes.collections)
    assert low == pytest.approx(wilson(10, 10)[0])
