"""The command line: mistakes get one line, help is complete, interruptions are said."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from wmplan import cli
from wmplan.data import EpisodeStore
from wmplan.errors import UserError
from wmplan.settings.compose import compose, group_options, has_config, keys
from wmplan.settings.sweep import FLAGS, combinations

CONFIGURED = [name for name in cli.COMMANDS if has_config(name)]


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a mistake gets."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err.count("\n") == 1, (out, err)
    return err.strip()


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["colect"], "there is no command 'colect'; did you mean 'collect'?"),
        (["collect", "out=x", "episode=3"], "there is no key 'episode'; did you mean 'episodes'?"),
        (["demo", "task=arm_reach"], "there is no key 'task'; did you mean 'task_id'?"),
        (["eval", "out=x", "offset=3"], "there is no key 'offset'; did you mean 'protocol.offset'?"),
        (["collect", "out=x", "task=pushed"], "there is no task 'pushed'; did you mean 'pusht'?"),
        (["eval", "out=x", "planner=ice"], "there is no planner 'ice'; did you mean 'icem'?"),
        (["collect"], "out is missing: wmplan collect out=..."),
        (["diagnose"], "dir is missing: wmplan diagnose DIR"),
        (["collect", "out=x", "episodes=many"], "episodes must be a whole number, got 'many'"),
        (["collect", "out=x", "episodes=2.5"], "episodes must be a whole number, got 2.5"),
        (["collect", "out=x", "episodes=0"], "episodes must be at least 1, got 0"),
        (["collect", "out=x", "variation=3"], "there is no factor of variation '3'; there are hue, light"),
        (["collect", "out=x", "variation=[hue,2.5]"], "variation must be true or false or text or a list"),
        (["collect", "out=x", "variation=hue", "strength=2"], "strength must be above 0 and at most 1, got 2.0"),
        (["eval", "out=x", "protocol.variation=[mass,hues]"], "there is no factor of variation 'hues'; there are hue"),
        (
            ["collect", "out=x", "image_size=[64]"],
            "image_size must be a list [a whole number, a whole number], got [64]",
        ),
        (["collect", "--out=x"], "settings are written key=value, without dashes: out=x"),
        (["collect", "--episodes", "3"], "settings are written key=value, without dashes: episodes=VALUE"),
        (["collect", "data"], "'data' is not a setting; settings are written key=value"),
        (["collect", "+more=1", "out=x"], "'+more=1' is not a setting"),
        (["doctor", "a=1"], "it takes no settings, 'a=1' was given"),
        (["eval", "out=x", "episodes=-1", "rows=[noop]", "model=null"], "episodes must be at least 1, got -1"),
        (["eval", "out=x", "protocol.goal=picture", "rows=[noop]", "model=null"], "protocol.goal is 'picture'"),
        (["eval", "out=x", "rows=[nop]", "model=null"], "there is no row 'nop'"),
        (["eval", "out=x", "model=no/such/model"], "there is no model and no folder or file 'no/such/model'"),
        (["diagnose", "no/such/folder"], "there is no no/such/folder/results.json"),
        (["import", "no/such/file", "out=x"], "there is no file or folder 'no/such/file' to import"),
        (["import"], "file is missing: wmplan import FILE"),
        (["train", "out=x", "data=no/such/data"], "no/such/data"),
    ],
)
def test_mistake_gets_one_line_that_says_what_would_be_right(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refuse(capsys, *arguments)
    assert says in line
    assert line.startswith("wmplan: " if arguments == ["colect"] else f"wmplan {arguments[0]}: ")


def test_wrong_planner_setting_names_those_there_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", "out=x", "rows=[noop]", "model=null", "planner=cem"]
    assert "num_samples" in refuse(capsys, *arguments, "planner.num_sample=10")
    assert "num_samples must be a whole number, got 'x'" in refuse(capsys, *arguments, "planner.num_samples=x")


def test_path_that_cannot_be_written_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/dev/null/x" in refuse(capsys, "collect", "out=/dev/null/x", "episodes=1")


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", "a,b", "{a}", "(1)", "=", "a=b", "$x", "[1", "back\\slash", "back\\", '"', "~/x", "ws://h:1"],
)
def test_any_text_is_taken_as_it_stands(name: str) -> None:
    assert compose("collect", [f"out={name}"])["out"] == name
    assert cli.read_settings("collect", [f"out={name}"])["out"] == name


NUMBERS = ["1e3", "1.10", "010", "007", "1_000", "0x1F", "0b1", "+1", "-0", ".5", "1.", "inf", "-inf", "nan", "1e999"]
OTHERS = [
    "null",
    "Null",
    "~",
    "true",
    "False",
    "on",
    "2024-01-01",
    "1:30",
    "int(3)",
    "str(a)",
    "[a]",
    "{a: 1}",
    "[[1]]",
]


@pytest.mark.parametrize("name", [*NUMBERS, *OTHERS, "9" * 5000, "[" * 500])
def test_a_name_that_looks_like_something_else_is_taken_as_it_stands(name: str) -> None:
    settings = cli.read_settings("train", [f"data={name}", f"out={name}", f"name={name}"])
    assert [settings[key] for key in ("data", "out", "name")] == [name] * 3
    if not name.startswith("-"):
        assert cli.read_settings("diagnose", [name])["dir"] == name


@pytest.mark.parametrize(
    "key", ["demo.model", "robot.out", "collect.task.id", "bench.out", "serve.goal", "import.file"]
)
def test_every_command_takes_names_as_they_stand(key: str) -> None:
    command, _, path = key.partition(".")
    overrides = [f"{path}=1e3", *(["out=x"] if command in ("collect", "import") else [])]
    found = cli.read_settings(command, overrides)
    for name in path.split("."):
        found = found[name]
    assert found == "1e3"


@pytest.mark.parametrize("key", ["model", "protocol.rule", "device"])
def test_null_stays_null_where_it_says_something(key: str) -> None:
    settings = cli.read_settings("eval", ["out=null", f"{key}=null"])
    for name in key.split("."):
        settings = settings[name]
    assert settings is None
    assert cli.read_settings("eval", ["out=null"])["out"] == "null"
    assert cli.read_settings("eval", ["out=x", "protocol.rule='null'"])["protocol"]["rule"] == "null"


def test_numbers_and_lists_stay_what_they_are() -> None:
    settings = cli.read_settings(
        "eval", ["out=x", "episodes=1e3", "rows=[noop]", "planner=cem", "planner.min_std=1e-3"]
    )
    assert settings["episodes"] == 1000 and settings["rows"] == ["noop"] and settings["planner"]["min_std"] == 0.001
    assert cli.read_settings("train", ["data=x", "out=x", "joint.learning_rate=1e-3"])["joint"]["learning_rate"] == 1e-3


@budget(max_examples=25, deadline=None)
@given(
    st.one_of(
        st.floats().map(repr),
        st.integers().map(hex),
        st.decimals().map(str),
        st.dates().map(str),
        st.booleans().map(str),
    ).map(lambda text: text.replace("$", ""))
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="$'\"\\ "), min_size=1)
)
def test_any_name_is_the_one_that_is_used(name: str) -> None:
    assert cli.read_settings("collect", [f"out={name}"])["out"] == name


@pytest.mark.parametrize("name", ["a b", "it's", "{a}", "results/2024"])
def test_first_argument_without_a_key_is_the_folder(name: str) -> None:
    assert cli.read_settings("diagnose", [name, "max_instances=3"])["dir"] == name
    with pytest.raises(UserError, match="not a setting"):
        cli.read_settings("diagnose", [name, "second"])


# ------------------------------------------------------------------ what is a mistake and what a bug


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(settings: cli.Settings) -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command(run, resumes=True))


def test_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ValueError("from a library"), TypeError("a bug"), AssertionError("a bug")):
        fail_with(monkeypatch, error)
        with pytest.raises(type(error)):
            cli.main(["doctor"])


def test_library_error_inside_the_package_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmplan.settings.describe import meanings

    monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command(lambda _: meanings(3)))  # type: ignore[arg-type, func-returns-value]
    with pytest.raises((TypeError, AttributeError)):
        cli.main(["doctor"])


def test_user_error_and_refusals_of_the_system_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, UserError("two\n  lines"))
    assert refuse(capsys, "doctor") == "wmplan doctor: two lines"
    fail_with(monkeypatch, OSError(28, "No space left on device", "data/x"))
    assert refuse(capsys, "doctor") == "wmplan doctor: data/x: No space left on device"


def test_debug_shows_the_traceback_of_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMPLAN_DEBUG", "1")
    with pytest.raises(UserError):
        cli.main(["collect", "out=x", "nokey=1"])


def test_interruption_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "wmplan doctor: interrupted; the same command goes on where it stopped\n"


def test_ctrl_c_in_a_running_command(tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = [sys.executable, "-m", "wmplan.cli", "collect", f"out={out}", "episodes=100000", "processes=2"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("*")) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(running.pid, signal.SIGINT)  # a terminal sends it to the whole group
        _, err = running.communicate(timeout=120)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130, err
    begin, end = "wmplan collect: interrupted; ", f" of 100000 episodes are saved in {out}; the same command goes on"
    told = re.fullmatch(f"{begin}(\\d+){re.escape(end)} from there\n", err)
    assert told, err
    assert int(told[1]) == len(EpisodeStore.open(out, partial=True)) > 0


# ------------------------------------------------------------------ help


def test_help_before_a_command_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "collect"]) == 0
    first = capsys.readouterr().out
    assert cli.main(["collect", "--help"]) == 0
    assert capsys.readouterr().out == first and first.startswith("Usage: wmplan collect")
    assert cli.main(["help", "colect"]) == 2
    assert "did you mean 'collect'?" in capsys.readouterr().err


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, one in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(one.purpose)}$", text, re.MULTILINE)
    assert cli.main([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_explains_every_key_and_gives_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"  wmplan {name}" in text
    assert max(map(len, text.splitlines())) <= 120
    for key in keys(compose(name)) if has_config(name) else ():
        if key.count(".") == 1 and key.endswith((".name", ".kind")):
            continue
        whole = "|".join(re.escape(key[: dot.start()]) for dot in re.finditer(r"\.", key)) or "-"  # {NAME: ...} in one
        entry = re.search(
            rf"^  {re.escape(key)}(=\S.*?)?(  +|\n {{30,}})\S|^  {re.escape(key)}\.|^  ({whole})=\{{",
            text,
            re.MULTILINE,
        )
        assert entry, f"{key} is not explained"


def test_help_shows_the_settings_of_the_chosen_planner(capsys: pytest.CaptureFixture[str]) -> None:
    from wmplan.planning import ICEMConfig

    assert cli.main(["eval", "planner=icem", "model=null", "--help"]) == 0
    text = capsys.readouterr().out
    for name in ("num_samples", "noise_beta", "keep_fraction"):
        assert f"  planner.{name}={getattr(ICEMConfig(), name)}" in text


@pytest.mark.parametrize(
    ("command", "model", "overrides"),
    [
        ("eval", "pusht", []),
        ("eval", "arm_reach", ["task=arm_reach"]),
        ("serve", "pusht", ["planner=realtime"]),
        ("serve", "arm_reach", ["model=arm_reach", "planner.num_samples=77"]),
        ("robot", "pusht", ["planner=cem", "objective=latent", "schedule.arrival_step=9"]),
    ],
)
def test_help_shows_the_numbers_that_will_be_used(
    command: str, model: str, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import wmplan
    from wmplan.control import make_controller

    assert cli.main([command, *overrides, "--help"]) == 0
    shown = dict(re.findall(r"^  ([\w.]+)=(\S*)", capsys.readouterr().out, re.MULTILINE))
    settings = cli.read_settings(command, [*overrides, *(["out=x"] if command == "eval" else [])])
    assert settings["model"] == model
    used = make_controller(wmplan.load(model), settings["planner"], settings["objective"], settings["schedule"])
    assert shown["planner.num_samples"] == str(used.planner.config.num_samples)
    assert shown["planner.num_iterations"] == str(used.planner.config.num_iterations)
    assert shown["planner.init_std"] == str(used.planner.config.init_std)
    assert shown["schedule.arrival_step"] == str(used.schedule.arrival_step)


def test_help_of_a_model_without_a_card_shows_the_planners_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "model=null", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Settings of cem, over its own defaults" in out and "  planner.num_iterations=30 " in out
    assert "no/such" in refuse(capsys, "eval", "model=no/such", "--help")


@pytest.mark.parametrize(
    "line",
    [
        line
        for name in cli.COMMANDS
        for line in (cli.COMMANDS[name].run.__doc__ or "").splitlines()
        if line.startswith("      wmplan ")
    ],
)
def test_examples_are_accepted(line: str) -> None:
    name, arguments = cli.split_name(shlex.split(line)[1:])
    runs = [arguments]
    if set(FLAGS) & set(arguments):  # a sweep
        runs = [run.arguments for run in combinations([one for one in arguments if one not in FLAGS])]
    for one in runs:
        cli.read_settings(name, one)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import wmplan

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"wmplan {wmplan.__version__}\n"


# ------------------------------------------------------------------ configuration files


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_choice_of_every_group_composes(name: str) -> None:
    settings = compose(name)
    for group in settings:
        if not isinstance(settings[group], dict):
            continue  # a setting that bears a group's name
        for option in group_options(group):
            chosen = compose(name, [f"{group}={option}"])
            assert chosen.keys() == settings.keys()
            if "name" in chosen[group] and group == "task":
                assert chosen[group]["name"] == option


def test_defaults_are_those_of_the_code() -> None:
    """What a file says to be the default is what Python users get too."""
    import inspect

    from wmplan.data.collection import CollectConfig
    from wmplan.diagnosis.diagnose import DiagnoseConfig
    from wmplan.evaluation.evaluate import evaluate
    from wmplan.evaluation.protocol import Protocol
    from wmplan.models.released.importer import ImportOptions
    from wmplan.settings.build import build

    settings = compose("collect", ["out=x", "task=pusht"])
    assert build(CollectConfig, {**settings, "task": "t"}) == CollectConfig(task="t", out="x", episodes=500)
    settings = compose("diagnose", ["dir=x"])
    del settings["dir"]
    assert build(DiagnoseConfig, settings) == DiagnoseConfig()
    settings = compose("eval", ["out=x"])
    assert build(Protocol, settings["protocol"]) == Protocol()
    defaults = {name: one.default for name, one in inspect.signature(evaluate).parameters.items()}
    for name in ("episodes", "seed", "planner_seeds", "oracle_seeds", "workers", "device"):
        assert settings[name] == defaults[name]
    assert tuple(settings["rows"]) == defaults["rows"]
    settings = compose("import", ["file=x", "out=y"])
    del settings["file"], settings["out"]
    assert ImportOptions.from_mapping(settings) == ImportOptions()


@pytest.mark.parametrize("encoder", group_options("encoder"))
def test_training_settings_make_a_configuration(encoder: str) -> None:
    from wmplan.training.config import TrainConfig

    seen: list[TrainConfig] = []
    settings = cli.read_settings("train", ["data=d", "out=o", f"encoder={encoder}", "joint.steps=7"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wmplan.training.train.train", seen.append)
        cli.COMMANDS["train"].run(settings)
    default = TrainConfig("d", "o", name="pusht", task="wmplan.envs:wmplan/PushT-v0", encoder=encoder)
    of_the_task = {name: getattr(seen[0], name) for name in ("symmetries", "regions")}
    assert of_the_task["symmetries"].keys() == settings["task"]["symmetries"].keys()
    default = replace(default, joint=replace(default.joint, steps=7), planning=settings["planning"], **of_the_task)
    assert seen == [default]
