"""The `wmplan` command: each command is one thin function, its settings are the arguments of what it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import wmplan
from wmplan import standard_streams
from wmplan.counted import counted
from wmplan.errors import UserError
from wmplan.failures import user_message
from wmplan.settings.command import COMMANDS, Command, Settings, command
from wmplan.settings.suggest import did_you_mean
from wmplan.settings.sweep import FLAGS

__all__ = ["COMMANDS", "Command", "Settings", "main"]

NOT_OF_ROBOTS = ("name", "instances", "policy", "success", "read_every", "keep_solved", "open_loop")
"""Settings of a protocol that a robot in wall-clock time has no use for."""
PRECISION = "wmplan.models.precision"
"""Logs which type a model plans in, and why."""

# ------------------------------------------------------------------ the commands


@command("demo", target="wmplan.demo:run_demo")
def demo(settings: Settings) -> None:
    """Plan to a goal image with a shipped model, on one held-out instance, and tell what happens.

    Writes episode.mp4, plan.png, still.png and report.html into out.

    Examples:
      wmplan demo
      wmplan demo model=arm_reach out=demo_arm seed=3
    """
    from wmplan.demo import run_demo
    from wmplan.settings.build import build

    build(run_demo, settings)


@command(
    "eval",
    target="wmplan.evaluation.evaluate:evaluate",
    hidden=("environment", "action_block"),
    free=("planner", "objective", "env"),
    resumes=True,
    sweeps=True,
)
def evaluate(settings: Settings) -> None:
    """Measure a planner's success on held-out instances, beside doing nothing, random actions and the recorded ones.

    Writes results.json, instances.json, films and report.html into out. Run again after an interruption, it goes on;
    with more episodes, it adds to what is there.

    Examples:
      wmplan eval model=pusht task=pusht planner=icem episodes=100 seed=0 out=results/pusht
      wmplan eval out=results/lewm protocol=lewm
      wmplan eval out=results/goal75 protocol.offset=75 protocol.budget=150
      wmplan eval out=results/cem planner=cem planner.num_samples=300 planner.num_iterations=5
      wmplan eval out=results/oracle rows=all planner_seeds=3
      wmplan eval -m planner=cem,icem,mppi seed=0,1,2 out=results/planners
      wmplan eval episodes=1000 shard=3/16 out=pieces/3
      wmplan eval episodes=1000 engine=ray ray.address=auto out=results/pusht
      wmplan eval episodes=1000 engine=slurm workers=16 slurm.partition=cpu out=results/pusht
    """
    from pathlib import Path

    from wmplan.evaluation.evaluate import evaluate as run
    from wmplan.evaluation.protocol import Protocol
    from wmplan.listing import results_table
    from wmplan.settings.build import build

    settings |= {"task": settings["task"]["id"], "environment": settings.pop("env")}
    for part, protocol in build(Protocol, settings["protocol"], "protocol").each():
        out = str(Path(settings["out"]) / part) if part else settings["out"]
        with standard_streams.told(PRECISION):
            result = build(run, {**settings, "protocol": protocol, "out": out})
        if settings["shard"] is not None:
            print(f"{out}: piece {settings['shard']} is finished; wmplan merge joins the pieces")
            continue
        print(results_table(result))
        from wmplan.report.page import write_report  # loads the plotting

        print(f"report: {write_report(out)}")


@command("compare", target="wmplan.evaluation.comparison:compare_results", positional=("first", "second"))
def compare(settings: Settings) -> None:
    """Compare two result folders on the same instances: the paired difference with its interval, a test, and power.

    By every rule, at any time and at the end. Tells how many instances the difference takes, and what differs in the
    settings. With several planner seeds, an instance counts once, however often it was played.

    Examples:
      wmplan compare results/cem results/icem
      wmplan compare results/cem results/icem difference=0.03 power=0.9 out=comparison.json
    """
    from wmplan.evaluation.comparison import compare_results
    from wmplan.listing import comparison_table
    from wmplan.settings.build import build

    print(comparison_table(build(compare_results, settings)))


@command(
    "precision",
    target="wmplan.evaluation.precision:measure_precision",
    positional=("model",),
    resumes=True,
    text=("model",),
)
def precision(settings: Settings) -> None:
    """Measure whether a model plans as well in bfloat16, in pairs, and write it into its card, which dtype=auto reads.

    The same held-out instances are played in both types; their first plans are compared by cost. Run again after an
    interruption, it goes on.

    Examples:
      wmplan precision runs/mine/model out=results/precision
      wmplan precision pusht out=results/precision write_card=false
    """
    from wmplan.evaluation.precision import measure_precision, precision_table
    from wmplan.settings.build import build

    print(precision_table(build(measure_precision, settings)))


@command("suite", target="wmplan.suite.run:run_suite", free=("planner",), resumes=True, text=("out", "setup"))
def suite(settings: Settings) -> int:
    """Run public suites by their published protocols: one table, with the published figures beside those measured here.

    Run again after an interruption, it goes on; with another model=, that model's rows are added, on the same
    instances. A suite that is not installed is told, with the command that installs it, and does not stop the others.
    With setup=DIR it makes a virtual environment for a suite instead, beside what is installed here; what the suite
    pins is its own there. Run again, it mends what is there. Exit status 1 if the table has no row with a figure.

    Examples:
      wmplan suite name=native out=results/suite
      wmplan suite name=metaworld setup=envs/metaworld
      envs/metaworld/bin/wmplan suite name=metaworld out=results/suite episodes=200 planner_seeds=3
      wmplan suite name=pusht 'protocols=[long]' out=results/suite
      wmplan suite name=pusht model=hf://org/name out=results/suite
    """
    from pathlib import Path

    from wmplan.settings.build import build
    from wmplan.suite.run import run_suite
    from wmplan.suite_setup import set_up_suite

    setup = settings.pop("setup")
    if setup is not None:
        print(f"{set_up_suite(settings['name'], setup)}: wmplan with {settings['name']}")
        return 0
    rows = build(run_suite, settings)
    print(f"table: {settings['out']}/table.md, table.json and table.html")
    return int(all(row.measured(Path(settings["out"]))[1] is None for row in rows))


@command("collect", target="wmplan.data.collection:CollectConfig", free=("env",), resumes=True)
def collect(settings: Settings) -> None:
    """Collect episodes of a task with its scripted exploration policy, noise, or a policy of yours, as training data.

    Run again after an interruption, it goes on; with more episodes, it adds to what is there.

    Examples:
      wmplan collect task=pusht episodes=500 seed=0 out=data/pusht
      wmplan collect task=arm_reach episodes=2000 processes=2 out=data/arm
      wmplan collect task=Reacher-v5 policy=noise noise.scale=0.2 env.success=mine:near out=data/reacher
      wmplan collect task=Reacher-v5 policy=runs/reacher/model goals=data/reacher out=data/play
      wmplan collect task=pusht episodes=4000 shard=3/16 out=pieces/3
    """
    from wmplan.data.collection import CollectConfig
    from wmplan.data.collection import collect as run
    from wmplan.settings.build import build

    if settings["task"]["id"] is None:
        raise UserError(f"task={settings['task']['name']} has no environment to collect from; see wmplan tasks")
    store = run(build(CollectConfig, {**settings, "task": settings["task"]["id"]}))
    piece = "" if settings["shard"] is None else f", piece {settings['shard']}; wmplan merge joins the pieces"
    print(f"{settings['out']}: {counted(len(store), 'episode')} of {settings['task']['name']}{piece}")


@command("merge", target="wmplan.merge:merge", many="dirs", resumes=True)
def merge(settings: Settings) -> None:
    """Join the pieces of an evaluation or a collection, made anywhere with shard=, into one result.

    It is what one process would have written, but for times. Pieces of other commands or versions, a missing one and
    the same one twice are refused.

    Examples:
      wmplan merge pieces/* out=results/pusht
      wmplan merge pieces/1 pieces/2 pieces/3 out=data/pusht
    """
    from wmplan.listing import results_table
    from wmplan.merge import merge as run
    from wmplan.settings.build import build

    merged = build(run, settings)
    if not isinstance(merged, dict):
        print(f"{settings['out']}: {counted(len(merged), 'episode')}")
        return
    print(results_table(merged))
    from wmplan.report.page import write_report  # loads the plotting

    print(f"report: {write_report(settings['out'])}")


@command(
    "train",
    target="wmplan.training.config:TrainConfig",
    hidden=("encoder_options",),
    free=(
        "encoder",
        "planning",
        "predictor_options",
        "joint_predictor_options",
        "critic_options",
        "decoder_options",
        "symmetries",
        "regions",
    ),
    resumes=True,
)
def train(settings: Settings) -> int:
    """Train a world model on a data set: encoder and predictor end to end, then the predictor alone on cached latents.

    Run again after an interruption, it goes on. The model is written to out/model: wmplan eval model=OUT/model.

    Examples:
      wmplan train data=data/pusht task=pusht out=runs/pusht
      wmplan train data=robot.h5 task=none control_rate=20 'action_low=[-1,-1]' 'action_high=[1,1]' out=runs/robot
      wmplan train data=data/mine task=none 'action_kind=[delta,delta,delta,gripper]' control_rate=10 out=runs/mine
      wmplan train data=data/mine task=none 'cameras=[front,wrist]' camera_encoders=shared out=runs/mine
      wmplan train data=data/pusht out=runs/vit encoder=vit encoder.depth=6
      wmplan train data=data/pusht out=runs/dino encoder=hf encoder.name=facebook/dinov2-small latent_dim=384
      wmplan train data=data/mine out=runs/mine pretrained=runs/pusht/model dynamics.steps=5000
      wmplan train data=data/pusht out=runs/on_ijepa pretrained=runs/ijepa latent_dim=128
    """
    from wmplan.settings.build import build
    from wmplan.training.config import TrainConfig
    from wmplan.training.train import train as run

    task, encoder = settings["task"], dict(settings["encoder"])
    chosen = {
        "task": task["id"],
        "encoder": encoder.pop("kind"),
        "encoder_options": encoder,
    }
    if task["id"] is None and settings["name"] == task["name"]:
        chosen["name"] = TrainConfig.name  # a model of no task is not called "none"
    config = build(TrainConfig, {**settings, **chosen})
    if config.devices > 1:
        from wmplan.training.processes import launched, supervise

        if not launched():
            return supervise(sys.argv[1:], config.device, config.devices)
    run(config)
    use = f"wmplan eval model={config.out}/model task={task['name']} out=DIR" if task["id"] else "wmplan.load"
    print(f"{config.out}/model: {'evaluate' if task['id'] else 'load'} it with {use}")
    return 0


@command("pretrain", target="wmplan.training.pretraining.config:PretrainConfig", resumes=True)
def pretrain(settings: Settings) -> int:
    """Pretrain an encoder without actions, on frames of a data set, a folder of images or a folder of videos.

    Hidden parts of images (ijepa, lejepa) or of clips (vjepa) are predicted in latent space, or what a clip shows next
    (next). Shows what the features hold, and names the likely cause where they collapse. Run again after an
    interruption, it goes on. The encoder is written to out/model.

    Examples:
      wmplan pretrain data=data/pusht out=runs/ijepa
      wmplan pretrain data=videos objective=vjepa 'image_size=[128,128]' vit=small vit.patch=16 out=runs/vjepa
      wmplan pretrain data=images objective=lejepa sigreg=0.2 steps=20000 out=runs/lejepa
      wmplan pretrain data=data/clips objective=next stride=2 optimizer=muon out=runs/physics
    """
    from wmplan.settings.build import build
    from wmplan.training.pretraining.config import PretrainConfig
    from wmplan.training.pretraining.pretrain import pretrain as run

    config = build(PretrainConfig, settings)
    if config.devices > 1:
        from wmplan.training.processes import launched, supervise

        if not launched():
            return supervise(sys.argv[1:], config.device, config.devices)
    run(config)
    planned = f"make a world model of it with wmplan train pretrained={config.out} data=DIR out=DIR"
    examined = f"wmplan physics model={config.out} out=DIR asks what it knows"
    print(f"{config.out}/model: {examined if config.objective == 'next' else planned}")
    return 0


@command("data describe", target="wmplan.data.description:describe_data", positional=("data",))
def data_describe(settings: Settings) -> None:
    """Say what recorded data holds: format, episodes, rate, columns with their ranges, cameras.

    Examples:
      wmplan data describe data/pusht
      wmplan data describe lerobot:recordings camera=observation.images.top
    """
    from wmplan.data.description import describe_data
    from wmplan.settings.build import build

    print(build(describe_data, settings))


@command("data check", target="wmplan.data.checking.run:check_data", positional=("data",))
def data_check(settings: Settings) -> int:
    """Look for what would spoil training: dead cameras, lost rows, actions that stand in the wrong row, and more.

    Every finding names its episode and row. Exit status 1 where one of them is serious, 0 otherwise.

    Examples:
      wmplan data check data/pusht
      wmplan data check recordings camera=observation.images.top latency=1
    """
    from wmplan.data.checking.run import check_data
    from wmplan.settings.build import build

    return build(check_data, settings)


@command(
    "data convert",
    target="wmplan.data.conversion:convert_data",
    hidden=("source",),
    positional=("in",),
    text=("in",),
    resumes=True,
)
def data_convert(settings: Settings) -> None:
    """Write recorded data of any format as our own shards, or in LeRobot's format v3.0.

    Frames of videos are decoded once, here: training reads shards many times faster. Formats that are read: shards,
    HDF5 of stable-worldmodel and robomimic, LeRobot v3.0, zarr replay buffers, folders of videos with tables.

    Examples:
      wmplan data convert recordings out=data/mine camera=observation.images.top 'image_size=[96,96]'
      wmplan data convert recordings out=data/mine 'cameras=[front,wrist]' 'image_size=[96,96]'
      wmplan data convert in=data/pusht out=lerobot/pusht format=lerobot
    """
    from wmplan.data.conversion import convert_data
    from wmplan.settings.build import build

    print(build(convert_data, {"source": settings.pop("in"), **settings}))


@command("data clips", target="wmplan.exam.training_clips:export_clips", resumes=True)
def data_clips(settings: Settings) -> None:
    """Draw possible clips of an exam of intuitive physics, to train a model on before it sits that exam.

    None of them occurs in an exam, whatever the seeds. Run again after an interruption, it goes on; with more pairs,
    it adds to what is there.

    Examples:
      wmplan data clips out=data/clips
      wmplan data clips properties=[permanence,continuity] pairs=1000 seed=3 out=data/clips
    """
    from wmplan.exam.training_clips import export_clips
    from wmplan.settings.build import build

    store = build(export_clips, settings)
    print(f"{settings['out']}: {counted(len(store), 'clip')}; wmplan pretrain data={settings['out']} trains on them")


@command("diagnose", target="wmplan.diagnosis.diagnose:DiagnoseConfig", positional=("dir",), text=("dir",))
def diagnose(settings: Settings) -> None:
    """Say why the failed episodes of a result folder failed: the encoder, the predictor, the objective or the search.

    Prints a table, writes diagnosis.json into the folder, and adds pictures to its report.html.

    Example:
      wmplan diagnose results/pusht max_instances=10
    """
    from wmplan.diagnosis.diagnose import DiagnoseConfig
    from wmplan.diagnosis.diagnose import diagnose as run
    from wmplan.settings.build import build

    folder = settings.pop("dir")
    run(folder, build(DiagnoseConfig, settings))
    from wmplan.report.page import write_report  # loads the plotting

    print(f"report: {write_report(folder)}")


@command("validate", target="wmplan.validation.validate:validate", free=("planner", "objective"))
def validate(settings: Settings) -> None:
    """Judge a model without the robot, on recorded episodes: how far ahead its plans can be trusted, and a score.

    Open-loop errors, the rank of the recorded actions by the planner's own cost, planned beside recorded actions,
    surprise, and goal images beside the data. Writes validation.json and report.html into out.

    Examples:
      wmplan validate model=pusht data=data/pusht out=validation
      wmplan validate model=runs/robot/model data=lerobot:recordings camera=observation.images.top out=validation
      wmplan validate model=pusht data=data/pusht out=validation 'goals=[goal.png]' episodes=200 windows=1000
    """
    from wmplan.settings.build import build
    from wmplan.validation.validate import table
    from wmplan.validation.validate import validate as run

    print(table(build(run, settings)))
    from wmplan.report.validation_page import write_validation_report  # loads the plotting

    print(f"report: {write_validation_report(settings['out'])}")


@command("physics", target="wmplan.exam.examine:physics", resumes=True)
def physics(settings: Settings) -> None:
    """Ask a model what it knows of intuitive physics: whether impossible clips surprise it more than possible ones.

    Pairs of possible worlds exchange their ends at one moment, behind a screen or in plain view. Beside the model sit
    untrained networks of its architecture, a pixel predictor of its size, a copy of the last frame and the true
    simulator. Writes exam.json and report.html into out. Run again after an interruption, it goes on; with more pairs,
    it adds to those that are there.

    Examples:
      wmplan physics model=pusht out=physics
      wmplan physics model=runs/mine/model properties=[permanence,solidity] pairs=500 out=physics
      wmplan physics model=pusht pairs=20 untrained_networks=2 pixel_steps=0 out=physics
      wmplan physics model=pusht exam=pusht out=physics
    """
    from wmplan.exam.examine import physics as run
    from wmplan.exam.summary import exam_table
    from wmplan.settings.build import build

    print(exam_table(build(run, settings)))
    from wmplan.report.physics_page import write_physics_report  # loads the plotting

    print(f"report: {write_physics_report(settings['out'])}")


@command(
    "import",
    target="wmplan.models.released.importer:ImportOptions",
    free=("architecture",),
    positional=("file",),
    text=("file", "out"),
)
def import_model(settings: Settings) -> None:
    """Bring another lab's checkpoint into our form: LeWM, DINO-WM, JEPA-WM, V-JEPA 2-AC, stable-worldmodel folders.

    What its release leaves out (bounds, normalisers, rate) has to be told; what is missing is named all at once.

    Examples:
      wmplan import lewm_pusht.ckpt out=models/lewm 'action_low=[-1,-1]' 'action_high=[1,1]' control_rate=10
      wmplan import vjepa2_ac.pt out=models/vjepa2_ac control_rate=4
    """
    from wmplan.models.released.importer import import_checkpoint

    file, out = settings.pop("file"), settings.pop("out")
    folder = import_checkpoint(file, out, settings)
    print(f"{folder}: load it with wmplan.load({str(folder)!r}), or wmplan eval model={folder}")


@command("serve", target="wmplan.serving.serve:serve", free=("planner", "objective", "goal", "goal_mask"))
def serve(settings: Settings) -> None:
    """Serve a model to robots over a websocket, in the protocol of openpi's policy servers.

    Clients: wmplan.serving.client.PolicyClient, wmplan robot, and openpi's own client. Beside it there are /healthz
    and /metrics. SIGTERM and Ctrl-C end it once the replies under way are sent.

    Examples:
      wmplan serve
      wmplan serve model=runs/pusht/model planner=realtime goal=goal.png
      wmplan serve model=runs/two/model goal.front=goal.front.png goal.wrist=goal.wrist.png
      wmplan serve model=runs/pusht/model record=data/use
      WMPLAN_TOKEN=... wmplan serve host=0.0.0.0 certificate=server.pem key=server.key
    """
    from wmplan.serving.serve import serve as run
    from wmplan.settings.build import build

    build(run, settings)


@command(
    "robot",
    target="wmplan.robot_sim.config:RobotConfig",
    hidden=("protocol.proprio", *(f"protocol.{name}" for name in NOT_OF_ROBOTS)),
    free=("planner", "objective"),
)
def robot(settings: Settings) -> None:
    """Run a simulated robot in wall-clock time, driven by a served planner, and break things on request.

    Writes results.json and films with the loop's figures drawn in into out. Instances are those of wmplan eval with
    the same seed, so that success can be compared.

    Examples:
      wmplan robot episodes=10 out=robot
      wmplan robot url=null model=pusht planner=realtime rate=20
      wmplan robot camera.latency_ms=100 'faults.given=[{kind: knock, at: 1}, {kind: server_killed, at: 2, seconds: 1}]'
      wmplan robot url=null clock=simulated faults.random=3 episodes=20
    """
    from wmplan.robot_sim.config import RobotConfig
    from wmplan.robot_sim.run import results_text, run_robot
    from wmplan.settings.build import build

    with standard_streams.told(PRECISION):
        result = run_robot(build(RobotConfig, {**settings, "task": settings["task"]["id"]}))
    print(f"{results_text(result)}\n{settings['out']}: results.json{' and films' if settings['films'] else ''}")


@command(
    "goal",
    target="wmplan.goal_preparation:prepare_goal",
    hidden=("source",),
    positional=("in",),
    text=("in",),
    free=("in", "crop", "mask"),
)
def goal(settings: Settings) -> None:
    """Make a goal image of a picture, or of a frame of recorded data, and say how unlike the data it is.

    It is rotated, cropped and made as small as the camera's frames, its exposure matched, in this order. With model=,
    its latent's distance from the data's nearest frame is told beside what such distances are within the data.

    Examples:
      wmplan goal photo.jpg model=runs/robot/model data=data/robot 'crop=[280,0,1000,720]' exposure=match
      wmplan goal frame=data/robot:12:80 out=goal.png
      wmplan goal photo.jpg model=pusht 'mask=[[10,10],[50,10],[30,55]]'
      wmplan goal in.front=front.jpg in.wrist=wrist.jpg model=runs/two/model data=data/two 'crop.front=[280,0,1000,720]'
    """
    from wmplan.goal_preparation import prepare_goal
    from wmplan.settings.build import build

    source = settings.pop("in")
    print(build(prepare_goal, {**settings, "source": source or None}))


@command("bench", target="wmplan.bench.config:BenchConfig")
def bench(settings: Settings) -> None:
    """Measure how fast planning is on this machine: plans and rollouts per second, percentiles, share of the peak.

    On models of three sizes with random weights, beside a plain loop that shares nothing; under a minute, minutes with
    full=true. Prints a table, and writes bench.json and bench.png into out.

    Examples:
      wmplan bench
      wmplan bench full=true out=results/bench
      wmplan bench 'models=[lewm]' threads=1 compile=true
    """
    from wmplan.bench import BenchConfig, run_bench
    from wmplan.bench.report import table, write
    from wmplan.output_folder import make_folder
    from wmplan.settings.build import build

    config = build(BenchConfig, settings)
    if config.out is not None:
        make_folder(config.out)
    results = run_bench(config)
    print(table(results))
    if config.out is not None:
        print(" and ".join(map(str, write(results, config.out))))


@command("models")
def models(settings: Settings) -> None:
    """List the models that are shipped: task, size, and the success that was measured.

    Example:
      wmplan models
    """
    from wmplan.listing import list_models

    print(list_models())


@command("tasks")
def tasks(settings: Settings) -> None:
    """List the tasks: actions, robot state, success rules, and what the shipped models reach.

    Example:
      wmplan tasks
    """
    from wmplan.listing import list_tasks

    print(list_tasks())


@command(
    "check-env",
    target="wmplan.environment_check:check_environment",
    hidden=("options",),
    free=("env",),
    positional=("id",),
)
def check_env(settings: Settings) -> None:
    """Try an environment: what it has, what each missing ability costs, and whether what it has works.

    Resets it twice with a seed, replays it from a state bit for bit, compares its simulator with its steps, sets goals,
    and times steps and frames. Exit status 0 where what is required holds: it can then be collected from.

    Examples:
      wmplan check-env pusht
      wmplan check-env Reacher-v5 'env.image_size=[96,96]'
      wmplan check-env Reacher-v5 env.success=mine:near env.max_episode_steps=100
    """
    from wmplan.environment_check import check_environment
    from wmplan.settings.build import build

    options = settings.pop("env")
    build(check_environment, {**settings, "options": options})


@command("doctor")
def doctor(settings: Settings) -> int:
    """Say what this machine has, and the command that mends what is missing.

    Versions, a rendered frame and its time, threads, GPU, whether bf16 gains, memory, disk, and the optional
    extras. Exit status 1 if something is missing that `wmplan demo` needs.

    Example:
      wmplan doctor
    """
    from wmplan.doctor import examine

    return examine()


# ------------------------------------------------------------------ running them


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wmplan ARGV` and return its exit status: 0, 2 for a mistake of the user's, 130 after Ctrl-C.

    Anything else that goes wrong is a bug and shows its traceback; WMPLAN_DEBUG=1 shows it for mistakes too.
    """
    standard_streams.prepare()
    os.environ["MPLBACKEND"] = "agg"  # figures go into files; matplotlib does not load with a backend it does not know
    arguments = list(sys.argv[1:] if argv is None else argv)
    name, arguments = split_name(arguments or ["--help"])
    where = f"wmplan {name}" if name in COMMANDS else "wmplan"
    try:
        status = run(name, arguments)
        standard_streams.finish()  # a closed pipe and a full disk are noticed here, not at exit
        return status
    except KeyboardInterrupt as stop:
        resumes = name in COMMANDS and COMMANDS[name].resumes
        hint = str(stop) or ("the same command goes on where it stopped" if resumes else "")
        print(f"{where}: interrupted{hint and '; '}{hint}", file=sys.stderr)
        return 128 + getattr(stop, "signal", signal.SIGINT)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and standard_streams.reader_is_gone():
            return 0  # it has seen enough
        message = user_message(error)
        if message is None or os.environ.get("WMPLAN_DEBUG", "0") not in ("", "0"):
            raise
        print(f"{where}: {message}", file=sys.stderr)
        return 2
    finally:
        with contextlib.suppress(OSError):
            standard_streams.finish()


def split_name(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command that the arguments begin with, which may be of two words, and the arguments after it."""
    pair = " ".join(arguments[:2])
    words = 2 if pair in COMMANDS else 1
    return " ".join(arguments[:words]), list(arguments[words:])


def run(name: str, arguments: Sequence[str]) -> int:
    """Run the command `name`, or print the help that is asked for, and return the exit status.

    Raises:
        UserError: at an unknown command or setting; and whatever the command raises.
    """
    if name == "help" and arguments:  # wmplan help eval
        name, arguments = split_name([*arguments, "--help"])
    if name in ("--help", "-h", "help"):
        print(overview())
        return 0
    if name in ("--version", "-V"):
        print(f"wmplan {wmplan.__version__}")
        return 0
    inner = [one for one in COMMANDS if one.startswith(f"{name} ")]
    if inner and not [one for one in arguments if not one.startswith("-")]:  # wmplan data, wmplan data --help
        print(overview(name))
        return 0
    if inner:
        name = f"{name} {arguments[0]}"
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}; {did_you_mean(name, COMMANDS)} (see wmplan --help)")
    arguments = _load_named_plugins(arguments)
    if {"--help", "-h"} & set(arguments):
        from wmplan.command_help import help_text

        print(help_text(name, COMMANDS[name], [one for one in arguments if one not in ("--help", "-h")]))
        return 0
    if set(FLAGS) & set(arguments):
        return run_several(name, [one for one in arguments if one not in FLAGS])
    return COMMANDS[name].run(read_settings(name, arguments)) or 0


def run_several(name: str, arguments: Sequence[str]) -> int:
    """Run a command for each combination of its settings, into folders in out, and print one table.

    Raises:
        UserError: at settings that do not fit, before anything runs; and whatever a run raises.
    """
    from pathlib import Path

    from wmplan.settings.sweep import combinations
    from wmplan.settings.text import quoted

    if not COMMANDS[name].sweeps:
        several = ", ".join(f"wmplan {other}" for other, one in COMMANDS.items() if one.sweeps)
        raise UserError(f"-m runs a command for each of several values: it is one of {several}")
    runs = combinations(arguments)
    out = Path(read_settings(name, runs[0].arguments)["out"])
    settings = {run: read_settings(name, [*run.arguments, f"out={quoted(str(out / run.name))}"]) for run in runs}
    for run, own in settings.items():
        _check_planner(run.name, own)
    pieces = [one for one in settings.values() if one.get("shard") is not None]
    for run, own in settings.items():
        print(f"{run.name}:")
        COMMANDS[name].run(own)
    if not pieces:
        from wmplan.evaluation.sweep import write_sweep
        from wmplan.listing import sweep_table

        print(f"\n{sweep_table(write_sweep(out, {run.name: run.chosen for run in runs}))}")
    return 0


def _check_planner(run: str, settings: Settings) -> None:
    """Raise a UserError that names the run of a sweep whose planner's settings do not fit together."""
    from wmplan.planning.registry import make_config

    planner = settings.get("planner")
    if isinstance(planner, Mapping) and planner.get("name") is not None:
        try:
            make_config(**planner)
        except UserError as error:
            raise UserError(f"{run}: {error}") from None


def _load_named_plugins(arguments: Sequence[str]) -> list[str]:
    """The arguments without plugins=MODULE or plugins=[MODULE, ...], which every command takes; they are loaded."""
    from wmplan.plugins import add_plugins

    for argument in arguments:
        if argument.startswith("plugins="):
            add_plugins([name.strip(" \"'") for name in argument.split("=", 1)[1].strip("[]").split(",")])
    return [argument for argument in arguments if not argument.startswith("plugins=")]


def read_settings(name: str, arguments: Sequence[str]) -> Settings:
    """The settings of a command with `key=value` arguments, and the one without a key where the command has one.

    Raises:
        UserError: at an argument that is not one of the command's.
    """
    from wmplan.settings.compose import compose, has_config
    from wmplan.settings.text import quoted

    one = COMMANDS[name]
    overrides = list(arguments)
    plain = [i for i, argument in enumerate(overrides) if _is_plain(argument)]
    unnamed = [key for key in one.positional if not any(other.startswith(f"{key}=") for other in overrides)]
    for key, i in zip(unnamed, plain, strict=False):
        overrides[i] = f"{key}={quoted(overrides[i])}"
    if not has_config(name):
        if overrides:
            raise UserError(f"it takes no settings, {overrides[0]!r} was given")
        return {}
    if one.many is not None and plain:
        overrides = [override for i, override in enumerate(overrides) if i not in plain]
        overrides.append(f"{one.many}=[{','.join(quoted(arguments[i]) for i in plain)}]")
    settings = compose(name, overrides)
    for key, value in settings.items():
        if value == "???":
            named = [key] if key == one.many else one.positional
            form = " ".join(map(str.upper, named)) if key in named else f"{key}=..."
            raise UserError(f"{key} is missing: wmplan {name} {form}")
    return settings


def _is_plain(argument: str) -> bool:
    """Whether an argument is no `key=value`: a folder of a sweep's has "=" in its name, behind a "/"."""
    key, equals, _ = argument.partition("=")
    return not argument.startswith("-") and (not equals or "/" in key)


def overview(group: str = "") -> str:
    """The text of `wmplan --help`, or of `wmplan GROUP --help` for commands of two words."""
    about = (wmplan.__doc__ or "").splitlines()[0]
    lines = [
        about,
        "",
        f"Usage: wmplan {group or 'COMMAND'} {'COMMAND ' if group else ''}[key=value ...]",
        "",
        "Commands:",
    ]
    lines += [f"  {name:15}{one.purpose}" for name, one in COMMANDS.items() if name.startswith(f"{group} ".lstrip())]
    begin = f"wmplan {group} COMMAND --help" if group else "wmplan COMMAND --help"
    return "\n".join(
        [*lines, "", f"{begin} shows the keys of a command." + ("" if group else " Begin with: wmplan demo")]
    )


if __name__ == "__main__":
    sys.exit(main())
