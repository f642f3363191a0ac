"""What a benchmark counts and writes, checked against closed forms and the models' own rollouts."""

import json
import math
import time

import pytest
import torch

from wmplan.bench import BenchConfig, config, run_bench
from wmplan.bench.config import Case, cases
from wmplan.bench.measure import Peak, choose_dtype, count_flops, fastest_product, percentiles, repeat
from wmplan.bench.memory import TensorPeak
from wmplan.bench.models import make_model
from wmplan.bench.plain import plain_cem, plain_rollout
from wmplan.bench.problem import make_problem
from wmplan.bench.report import table, write
from wmplan.bench.run import run_case
from wmplan.cli import main
from wmplan.models.linear import ONEDNN
from wmplan.models.released.dino_wm import DinoWM

SMALL_DINO = {
    "enc_dim": 24, "num_patches": 4, "num_hist": 3, "action_dim": 4, "raw_action_dim": 2, "action_emb_dim": 6,
    "proprio_dim": 2, "proprio_emb_dim": 2, "predictor": {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 20},
}  # fmt: skip


@pytest.fixture
def small_dino(monkeypatch):
    monkeypatch.setitem(config.MODELS, "dino_wm", lambda: DinoWM.build(SMALL_DINO))


def problem_of(name, batch=1, frames=None):
    return make_problem(make_model(name), batch, frames)


@pytest.mark.parametrize("name", ["keypoint", "lewm", "dino_wm"])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_plain_loop_predicts_the_same(name, frames, small_dino):
    problem = problem_of(name, 2, frames)
    low, high = problem.model.spec.block_bounds()
    actions = low + (high - low) * torch.rand(2, 3, 4, len(low), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = problem.model.rollout(problem.context, actions, problem.past_actions)
        plain = plain_rollout(problem, actions)
    assert plain.std(dim=1).mean() > 1e-3  # candidates differ, or nothing would be compared
    assert (ours - plain).abs().max() <= 1e-4 * plain.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["lewm", "dino_wm"])
def test_the_plain_loop_computes_in_the_models_type(name, dtype, small_dino):
    model = make_model(name).to(dtype)
    problem = make_problem(model, 2, 2)
    low, high = model.spec.block_bounds()
    actions = low + (high - low) * torch.rand(2, 3, 3, len(low), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = model.rollout(problem.context, actions, problem.past_actions)
        plain = plain_rollout(problem, actions)
    assert plain.dtype == ours.dtype == model.latent_dtype
    assert (ours - plain).abs().max() <= (0.2 if dtype == torch.bfloat16 else 0.03) * plain.abs().max()


def test_every_model_is_measured_in_bfloat16(monkeypatch, small_dino, capsys):
    one = (Case("keypoint", "icem", 2, 8, 2, 2), Case("lewm", "mppi", 1, 4, 2, 1), Case("dino_wm", "cem", 2, 4, 2, 1))
    monkeypatch.setattr(config, "BASE", one)
    assert main(["bench", "dtype=bfloat16", "seconds=0.001", "threads=1"]) == 0
    assert "models compute in bfloat16" in capsys.readouterr().out


def lewm_flops(horizon):
    """Of one candidate from one frame, two operations a multiplication: see lewm_rollout for what is left out."""
    width, inner, hidden, depth, window = 192, 1024, 2048, 6, 3
    project, own, perceptron = width * inner, width * width, 2 * width * hidden
    total = 0
    for step in range(horizon):
        new = 1 if step < window else window
        first = step == 0 or step >= window
        for layer in range(depth):
            newest = layer == depth - 1 and new > 1
            after = new - first  # frames beside the oldest
            asking = 1 if newest else new
            asking_after = min(asking, after)
            total += first * own + 2 * after * project + 2 * asking_after * project + asking * perceptron
        total += 2 * width * 2048  # the output projector
    actions = 10 * 10 + 10 * 768 + 768 * width + depth * width * 6 * width
    return 2 * (total + horizon * actions)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_lewms_operations_are_counted(horizon):
    problem = problem_of("lewm", frames=1)
    first, more = count_flops(problem.cost().predict, problem, horizon)
    assert first == more == lewm_flops(horizon)


def test_what_is_shared_is_counted_once():
    problem = problem_of("keypoint", batch=3)
    first, more = count_flops(problem.cost().predict, problem, 2)
    blocks, out = 3 * 2 * 256 * 256, 256 * 34  # three residual perceptrons, and the way out
    candidate_step_1 = 10 * 256 + blocks + out  # the newest action; two latents and the action before are shared
    candidate_step_2 = 34 * 256 + 2 * 10 * 256 + blocks + out
    shared = (2 * 34 + 10) * 256 + 34 * 256  # of step 1, and the newest context frame as the older of step 2's window
    assert more == 3 * 2 * (candidate_step_1 + candidate_step_2)
    assert first - more == 3 * 2 * shared


def test_rows_count_candidates(small_dino):
    row = run_case(Case("keypoint", "icem", 2, 40, 3, 3), make_model("keypoint"), tiny(), plain=False)
    candidates = 40 + 32 + 25 + 1  # 40 / 1.25^i, and the final mean
    seconds = row["plan_ms"]["p50"] / 1e3
    assert row["rollouts_per_s"] * seconds == pytest.approx(2 * candidates)
    assert row["model_steps_per_s"] * seconds == pytest.approx(2 * candidates * 3)
    assert row["plans_per_s"] * seconds == pytest.approx(2)
    assert row["gflops"] * seconds == pytest.approx(row["gflop"])
    assert row["plain_ms"] is None
    problem = make_problem(make_model("keypoint"), 2)
    first, more = count_flops(problem.cost().predict, problem, 3)
    assert row["gflop"] * 1e9 == pytest.approx(4 * first + (candidates - 4) * more)


def tiny(**settings):
    return BenchConfig(seconds=1e-3, threads=1, dtype="float32", **settings)


def numbers(value):
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, float | int) else []


def test_results_are_written_whole(tmp_path, monkeypatch, small_dino):
    monkeypatch.setattr(config, "BASE", (Case("keypoint", "icem", 1, 8, 2, 2), Case("dino_wm", "cem", 1, 4, 2, 1)))
    threads = torch.get_num_threads()
    results = run_bench(tiny(models=("keypoint", "dino_wm")))
    assert torch.get_num_threads() == threads
    data, picture = write(results, tmp_path / "out")
    assert json.loads(data.read_text()) == results
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert results["schema"] == 1 and [row["model"] for row in results["rows"]] == ["keypoint", "dino_wm"]
    assert all(math.isfinite(number) for number in numbers(results))
    assert all(row["plans"] >= 3 and row["plain_ms"] > 0 and row["threads"] == 1 for row in results["rows"])
    assert [one["planner"] for one in results["overhead"]] == ["cem", "icem", "mppi"]
    text = table(results)
    assert all(0 < row["peak_share"] <= 1 for row in results["rows"])
    assert results["peak_product"]["float32"] in text
    assert "dino_wm" in text and "1 x 8 x 2 x 2" in text and "x as long" in text


def test_the_command_prints_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(config, "BASE", (Case("keypoint", "icem", 1, 8, 2, 2),))
    assert main(["bench", "models=[keypoint]", "seconds=0.001", "threads=1", f"out={tmp_path}"]) == 0
    assert "keypoint" in capsys.readouterr().out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bench.json", "bench.png"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("models=[lewn]", "did you mean 'lewm'"),
        ("dtype=fp16", "wmplan bench: dtype must be one of auto, float32, bfloat16, got 'fp16'"),
        ("threads=0", "threads must be from 1 to 1024, got 0"),
        ("threads=1000000000", "threads must be"),
    ],
)
def test_a_wrong_setting_is_named(setting, message, capsys):
    assert main(["bench", setting]) == 2
    assert message in capsys.readouterr().err


def test_full_varies_one_setting_at_a_time():
    base, *others = cases(["lewm"], full=True)
    assert list(cases(["lewm"], full=False)) == [base]
    assert Case("lewm", "cem", 1, 300, 5, 30) in others
    for other in others:
        changed = [name for name in vars(base) if getattr(base, name) != getattr(other, name)]
        assert len(changed) == 1 or other.planner == "cem"


def test_bf16_is_chosen_where_it_gains():
    slower = {"float32": Peak(90.0, "torch.mm"), "bfloat16": Peak(2.0, "torch.mm")}
    assert choose_dtype("auto", slower) is torch.float32
    assert choose_dtype("auto", {"float32": Peak(195.0, ""), "bfloat16": Peak(420.0, "")}) is torch.bfloat16
    assert choose_dtype("bfloat16", slower) is torch.bfloat16


def test_no_share_of_the_peak_passes_one():
    assert Peak(100.0, "torch.mm").share(50.0) == 0.5
    assert Peak(100.0, "torch.mm").share(155.0) == 1.0


def test_the_peak_is_the_fastest_product_at_hand(monkeypatch):
    """A torch.mm that is a hundred times slower than oneDNN's product, as on some machines, does not set it."""
    slow = torch.mm

    def delayed(left, right):
        time.sleep(0.05)
        return slow(left, right)

    usual = fastest_product(torch.float32, seconds=0.12)
    monkeypatch.setattr(torch, "mm", delayed)
    found = fastest_product(torch.float32, seconds=0.12)
    assert usual.gflops > 0
    if ONEDNN:
        assert found.product.startswith("oneDNN") and found.gflops > 0.05 * usual.gflops
    else:
        assert found.product.startswith("torch.mm")


def test_warm_up_is_not_in_the_times():
    calls = []
    assert len(repeat(lambda: calls.append(1), 0.0, least=3, warm_up=2)) == 3
    assert len(calls) == 5
    assert percentiles([1.0, 2.0, 9.0]) == {"p50": 2.0, "p95": 9.0, "p99": 9.0}


def test_memory_is_what_is_held_at_one_time():
    outside = torch.ones(2**18)
    with torch.inference_mode(), TensorPeak() as memory:
        for _ in range(3):
            kept = torch.ones(2**18)  # 1 MiB, gone before the next one
            view = kept[: 2**17]
            del kept
            another = outside + 1
            del view, another
    assert memory.peak == 2 * 2**20


def test_the_plain_planner_comes_close():
    """It is what ours is compared with, so it has to plan: its cost is far below that of doing nothing."""
    problem = problem_of("keypoint")
    mean = plain_cem(problem, 64, 3, 8, 8)
    cost = problem.cost()
    assert cost(mean[:, None])[0, 0] < cost(torch.zeros_like(mean)[:, None])[0, 0]
