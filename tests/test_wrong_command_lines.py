"""Whatever is wrong with a command line: exit status 2 and one line on standard error, never a traceback."""

from __future__ import annotations

import copy
import re
import shlex
import types
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.settings.compose import compose, has_config

EVAL = "eval rows=[noop] model=null episodes=1 workers=1 out=x"
PLAN = "eval rows=[planner] episodes=1 workers=1 out=x"
LINES = {
    # devices and machines
    f"{PLAN} device=gpu": "device must be auto, cpu, cuda, cuda:1, ... or mps, got 'gpu'",
    f"{PLAN} device=cuda:99": "device 'cuda:99' cannot be used here",
    f"{PLAN} device=vulkan": "device 'vulkan' cannot be used here",
    f"{PLAN} dtype=half": "dtype must be one of auto, float32, bfloat16, got 'half'",
    "demo dtype=fp16": "dtype must be one of auto, float32, bfloat16, got 'fp16'",
    "serve dtype=int8": "dtype must be one of auto, float32, bfloat16, got 'int8'",
    "robot dtype=8": "dtype must be one of auto, float32, bfloat16, got '8'",
    f"{PLAN} planner.compile=max": "compile must be one of no, default, graphs, got 'max'",
    "bench device=tpu": "device must be auto, cpu, cuda, cuda:1, ... or mps, got 'tpu'",
    "serve device=cuda:99": "device 'cuda:99' cannot be used here",
    "robot url=null device=meta": "device 'meta' cannot be used here",
    "bench threads=99999999999999999999": "threads must be a whole number of at most 9223372036854775807",
    "bench threads=1025": "threads must be from 1 to 1024, got 1025",
    "bench threads=0": "threads must be from 1 to 1024, got 0",
    f"{EVAL} workers=100000": "workers must be from 1 to 1024, got 100000",
    "collect out=x processes=100000": "processes must be at most 1024, got 100000",
    f"{EVAL} shard=2/2": "shard must be of at most 1 pieces, for 1 episode, got 2/2",
    f"{EVAL} shard=0/3": "shard must be NUMBER/PIECES, from 1/16 to 16/16 for sixteen pieces, got '0/3'",
    "collect out=x shard=3": "shard must be NUMBER/PIECES, from 1/16 to 16/16 for sixteen pieces, got '3'",
    "merge": "dirs is missing: wmplan merge DIRS",
    "merge nowhere out=x": "there is no folder nowhere",
    # numbers
    f"{EVAL} seed=-1": "seed must be from 0 to 9223372036854775807, got -1",
    f"{EVAL} seed=99999999999999999999": "seed must be a whole number of at most 9223372036854775807",
    f"{EVAL} episodes=1e400": "episodes must be a whole number, got inf",
    f"{EVAL} episodes=nan": "episodes must be a whole number, got nan",
    f"{EVAL} planner_seeds=[1]": "planner_seeds must be a whole number, got [1]",
    f"{EVAL} protocol.offset=0": "offset must be at least 1 robot step, got 0",
    f"{EVAL} protocol.episode_steps=3": "episode_steps must be at least the offset, 25, got 3",
    "validate model=pusht data=nowhere out=x episodes=0": "episodes must be at least 1, got 0",
    "validate model=pusht data=nowhere out=x": "nowhere",
    "physics model=pusht out=x properties=[permanense]": "this exam has no property 'permanense'; did you mean 'perm",
    "physics model=pusht out=x exam=scene": "there is no exam 'scene'; did you mean 'scenes'?",
    "physics model=pusht out=x pairs=1": "pairs must be from 2 to 100000, got 1",
    "demo seed=x": "seed must be a whole number, got 'x'",
    "demo budget=0": "budget must be at least 1, got 0",
    "serve seed=-3": "seeds must be from 0 to 9223372036854775807, got -3",
    "serve port=99999": "port must be from 0 to 65535, got 99999",
    "serve port=http": "port must be a whole number, got 'http'",
    "robot rate=0": "rate must be above 0 and finite, got 0.0",
    "robot seed=1.5": "seed must be a whole number, got 1.5",
    "robot camera.latency_ms=-1": "camera.latency_ms must be at least 0, got -1.0",
    "bench seconds=0": "seconds must be above 0, got 0.0",
    "train data=x out=y joint.steps=many": "joint.steps must be a whole number, got 'many'",
    "train data=x out=y seed=-1": "seed must be from 0 to 9223372036854775805, got -1",
    "import nothing out=x image_size=64": "image_size must be a list [a whole number, a whole number] or null, got 64",
    "import nothing out=x cameras=3": "cameras must be a list, each entry text or null, got 3",
    "import nothing out=x action_low=abc": "action_low must be a list of numbers, got 'abc'",
    "import nothing out=x control_rate=fast": "control_rate must be a number or null, got 'fast'",
    # choices and settings of parts
    "eval task=none model=pusht out=x": "task=none is for wmplan train; wmplan eval needs one of arm_reach, ",
    "collect task=nine out=x": "there is no task 'nine'; it is one of arm_reach, fetch_pick_and_place",
    "eval planner=cem,icem model=pusht out=x": "planner has several values, cem,icem: wmplan eval -m runs each of them",
    "eval planner=cem,icen model=pusht out=x": "there is no planner 'cem,icen'; did you mean 'cem'?",
    "compare x": "second is missing: wmplan compare FIRST SECOND",
    "suite name=nothing out=x": "there is no suite 'nothing'; it is one of all, arm_reach, dm_control",
    "suite name=gym_push setup=x": "there is no suite 'gym_push'; did you mean 'gym_pusht'?",
    f"{PLAN} planner.name=cemm": "there is no planner 'cemm'",
    f"{PLAN} planner.num_samples=1.5": "num_samples must be a whole number, got 1.5",
    f"{PLAN} planner.num_sample=3": "num_sample",
    f"{PLAN} planner.min_std=[1]": "min_std must be a number, got [1]",
    f"{PLAN} schedule.arrival_step=soon": "schedule.arrival_step must be a whole number or null, got 'soon'",
    f"{PLAN} objective.latent.weight=heavy": "objective.latent.weight must be a finite number, got 'heavy'",
    f"{PLAN} objective.latent=3": "objective.latent must be a mapping of keys to values or null, got 3",
    f"{PLAN} 'objective={{latent: {{weigth: 1}}}}'": "objective latent has no setting 'weigth'",
    f"{PLAN} 'objective={{latnt: {{weight: 1}}}}'": "there is no objective 'latnt'; did you mean 'latent'?",
    f"{PLAN} objective.latnt.weight=1": "there is no objective 'latnt'",
    f"{PLAN} objective.proprio.weight_by=[1,x]": "weight_by",
    f"{PLAN} objective.switch.threshold=far": "objective switch",
    f"{EVAL} protocol.rule=nosuch": "the task has no rule 'nosuch'; it has public, block",
    f"{EVAL} rows=[]": "rows is empty",
    f"{EVAL} rows=3": "there is no row '3'",
    "robot clock=real": "clock is 'real'",
    "robot clock=simulated": "url=null",
    "robot url=null faults.given=3": "faults.given must be a list, each entry a mapping of keys to values, got 3",
    "robot url=null 'faults.given=[{kind: storm, at: 1}]'": "there is no fault 'storm'",
    "robot url=null limits.max_change=[0]": "max_change",
    "bench models=[gpt]": "models holds 'gpt'",
    "bench dtype=int8": "dtype must be one of auto, float32, bfloat16, got 'int8'",
    "train data=x out=y loss.target=teacher": "target must be 'shared' or 'ema', got 'teacher'",
    "train data=x out=y encoder=cnn": "there is no encoder 'cnn'",
    "import nothing out=x statistics=mars": "statistics must be one of pusht, metaworld, pointmaze, wall, got 'mars'",
    "diagnose x oracle=maybe": "oracle must be never, needed or all, got 'maybe'",
    "diagnose x max_instances=0": "max_instances must be at least 1, got 0",
    "diagnose x effort.candidates=0": "effort.candidates must be at least 2, got 0",
    "diagnose x probe_episodes=1e300": "probe_episodes must be a whole number of at most 9223372036854775807",
    "train data=x out=y history=1e300": "history must be a whole number of at most 9223372036854775807",
    # tasks and models
    f"{EVAL} task.id=CartPole-v1": "task 'CartPole-v1' cannot be planned in: its actions must be a Box",
    f"{EVAL} task.id=nobody/Task-v0": "write MODULE:nobody/Task-v0",
    f"{EVAL} task.id=no_such_module:Task-v0": "No module named 'no_such_module'",
    f"{EVAL} task.id=1e3": "task '1e3' cannot be made",
    "collect out=x episodes=1 task.id=CartPole-v1": "'CartPole-v1' cannot be planned in: its actions must be a Box",
    "demo task_id=CartPole-v1": "'CartPole-v1' cannot be planned in",
    f"{PLAN} model=empty": "empty",
    f"{PLAN} model=/dev/null": "/dev/null",
    f"{PLAN} model=notes.txt": "notes.txt",
    f"{PLAN} model=1e3": "there is no model and no folder or file '1e3'",
    f"{PLAN} task=arm_reach model=pusht": "give model=arm_reach",
    "robot url=null task=arm_reach model=pusht": "give model=arm_reach",
    "demo model=nothing": "there is no model and no folder or file 'nothing'",
    "serve model=nothing": "there is no model and no folder or file 'nothing'",
    f"{PLAN} model=~no_such_user/model": "~no_such_user/model",
    "bench out=notes.txt/~no_such_user": "cannot be made",
    "serve goal=~no_such_user/goal.png": "~no_such_user/goal.png",
    "serve goal=nothing.png": "nothing.png",
    "serve goal=notes.txt": "notes.txt",
    "serve record=notes.txt": "record=notes.txt cannot be written into",
    "serve record=data record_gb=0": "record_gb must be above 0 and finite, got 0.0",
    # files, folders and addresses
    f"{EVAL} out=": "out is empty",
    f"{EVAL} out=notes.txt": "out=notes.txt cannot be made",
    f"{EVAL} out=notes.txt/inside": "out=notes.txt/inside cannot be made",
    f"{EVAL} out=results": "out=results holds report.html",
    "collect out=results episodes=1": "results is not empty and holds no collection",
    "collect out=notes.txt episodes=1": "out=notes.txt cannot be made",
    "demo out=notes.txt": "out=notes.txt cannot be made",
    "demo out=results": "out=results holds report.html",
    "robot url=null out=notes.txt": "out=notes.txt cannot be made",
    "bench out=notes.txt": "out=notes.txt cannot be made",
    "train data=nothing out=y": "nothing",
    "train data=empty out=y": "empty",
    "train data=notes.txt out=y": "notes.txt",
    "import notes.txt out=x": "notes.txt",
    "import empty out=x": "empty",
    "diagnose empty": "there is no empty/results.json",
    "diagnose damaged": "damaged/results.json is damaged",
    "diagnose of_a_robot": "is not of `wmplan eval`",
    "serve certificate=nothing.pem": "nothing.pem",
    "serve host=0.0.0.0": "token",
    "serve token_file=nothing": "nothing",
    "robot url=http://x": "url",
    "robot url=ws://127.0.0.1:1 timeout=0.2": "127.0.0.1:1",
    # the line itself
    "eval": "out is missing: wmplan eval out=...",
    "evaluate": "there is no command 'evaluate'; did you mean 'eval'?",
    f"{EVAL} --workers 3": "without dashes",
    f"{EVAL} =3": "is not a setting",
    f"{EVAL} episodes": "is not a setting",
    f"{EVAL} protocol=3": "protocol",
    f"{EVAL} protocol.offset.x=3": "there is no key 'protocol.offset.x'",
    f"{EVAL} 'rows=[noop'": "there is no row '[noop'",
    f"{EVAL} model=${{nothing}}": "nothing",
    f"{EVAL} episodes={'9' * 5000}": "episodes must be a whole number",
    f"{EVAL} rows={'[' * 3000}": "there is no row",
    "models all": "it takes no settings, 'all' was given",
    "tasks x=1": "it takes no settings",
    "suite name=metaworld": "out is missing",
    "suite name=nowhere setup=x": "there is no suite 'nowhere'",
    "suite name=metaworld setup=notes.txt": "setup=notes.txt must be a new folder",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a file, an empty folder and three that hold something else."""
    (tmp_path / "notes.txt").write_text("not a model, not data, not a picture")
    for name in ("empty", "results", "damaged", "of_a_robot"):
        (tmp_path / name).mkdir()
    (tmp_path / "results" / "report.html").write_text("<p>of something else</p>")
    (tmp_path / "damaged" / "results.json").write_text('{"schema": 1, "rows')
    (tmp_path / "of_a_robot" / "results.json").write_text('{"schema": 1, "loop": {}, "rules": {}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WMPLAN_TOKEN", raising=False)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:60])
def test_one_line_and_status_2(line: str, place: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err, err
    assert LINES[line] in err and err.startswith("wmplan")
    assert out == "" and not Path("x").exists()


def numeric(target: Any, path: str = "") -> list[str]:
    """Settings of a target that take numbers or true and false and nothing else."""
    found = []
    for name, hint in typing.get_type_hints(target).items():
        is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        kinds = [kind for kind in (typing.get_args(hint) if is_union else [hint]) if kind is not type(None)]
        if all(kind in (int, float, bool) for kind in kinds):
            found.append(f"{path}{name}")
        for kind in kinds:
            if is_dataclass(kind):
                found += numeric(kind, f"{path}{name}.")
    return found


WITH_NUMBERS = [name for name, one in cli.COMMANDS.items() if has_config(name) and one.target and name != "merge"]


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_every_number_is_checked_before_anything_is_done(name: str, place: None) -> None:
    settings = compose(name)
    settings |= {key: "x" for key, value in settings.items() if value == "???"}
    keys = [key for key in numeric(cli.COMMANDS[name].load_target()) if key.partition(".")[0] in settings]
    assert keys
    for key in keys:
        for value in ("many", [1, "a"], {"a": 1}):
            wrong = copy.deepcopy(settings)
            *outer, last = key.split(".")
            inner = wrong
            for part in outer:
                inner = inner[part]
            if last not in inner:
                continue
            inner[last] = value
            with pytest.raises(UserError, match=rf"{re.escape(key)}\b.* must be"):
                cli.COMMANDS[name].run(wrong)
    assert not Path("x").exists()
