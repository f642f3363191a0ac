"""How fast we plan, against the solvers of stable-worldmodel, pytorch-mppi and a plain loop, on the same weights.

    python benchmarks/planner.py [--out benchmarks/results] [--threads 2] [--pairs 5] [--iterations 10]

Every comparison has the same weights, samples, iterations and horizon on both sides, starts from the same encoded
frame, and is made in pairs in this one process: ours, theirs, ours, theirs; the ratio is the median over the pairs.
Needs stable-worldmodel and pytorch-mppi in the same environment; a peer that is missing is named and left out.
Writes planner.json and planner.md, and planner.png where matplotlib is installed; --draw makes the picture from an
earlier planner.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import wmplan
from wmplan.atomic_io import write_durably, write_json
from wmplan.bench.machine import machine
from wmplan.bench.measure import Peak, count_flops, faster, fastest_product, percentiles
from wmplan.bench.models import LEWM, make_model
from wmplan.bench.plain import plain_cem
from wmplan.bench.problem import Problem, make_problem
from wmplan.bench.run import measure_peaks, planner_overhead
from wmplan.control.make import make_controller
from wmplan.planning.registry import make_planner
from wmplan.settings.compose import compose

Run = Callable[[], object]
HORIZON, SAMPLES, ELITES = 5, 300, 30


# ------------------------------------------------------------------ ours


def ours(problem: Problem, name: str, samples: int, iterations: int, horizon: int = HORIZON, **settings: Any) -> Run:
    """One plan with our planner of that name."""
    low, high = problem.model.spec.block_bounds()
    settings = {"num_elites": min(ELITES, samples), **settings}
    planner = make_planner(
        name,
        low,
        high,
        action_block=problem.model.spec.action_block,
        num_samples=samples,
        num_iterations=iterations,
        horizon=horizon,
        **settings,
    )
    planner.reset(range(len(problem.context)))
    cost = problem.cost()
    return lambda: planner.plan(cost)


# ------------------------------------------------------------------ theirs


def peer_lewm(problem: Problem) -> Any:
    """stable-worldmodel's LeWM with the weights of ours; both leave the encoder out, which the latents come from."""
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor

    predictor = Predictor(**LEWM["predictor"], hidden_dim=192, output_dim=192)
    projectors = [MLP(192, 2048, 192, norm_fn=torch.nn.BatchNorm1d) for _ in range(2)]
    peer = LeWM(torch.nn.Identity(), predictor, Embedder(10, 10, 192), *projectors).eval().requires_grad_(False)
    weights = {key: value for key, value in problem.model.state_dict().items() if not key.startswith("encoder.")}
    missing, unexpected = peer.load_state_dict(weights, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return peer


def solver(problem: Problem, peer: Any, name: str, iterations: int) -> Run:
    """One plan with stable-worldmodel's solver of that name, its defaults but for the budget."""
    from gymnasium.spaces import Box
    from stable_worldmodel import solver as solvers
    from stable_worldmodel.policy import PlanConfig

    kind = {"cem": solvers.CEMSolver, "icem": solvers.ICEMSolver, "mppi": solvers.MPPISolver}[name]
    batch = len(problem.context)
    made = kind(peer, batch_size=batch, num_samples=SAMPLES, n_steps=iterations, topk=ELITES, device="cpu")
    block = problem.model.spec.action_block
    made.configure(
        action_space=Box(-1.0, 1.0, (batch, problem.model.spec.action_dim), np.float32),
        n_envs=batch,
        config=PlanConfig(horizon=HORIZON, receding_horizon=1, action_block=block),
    )
    frame = torch.zeros(batch, problem.context.shape[1], 1, 1, 1)

    def solve() -> object:
        info = {"pixels": frame, "goal": frame, "emb": problem.context, "goal_emb": problem.goal[:, None]}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its time
            return made.solve(info)

    return solve


def same_costs(problem: Problem, peer: Any) -> float:
    """The largest difference between the peer's costs of some candidates and ours, relative to the largest cost."""
    actions = torch.randn(len(problem.context), 16, HORIZON, 10, generator=torch.Generator().manual_seed(3))
    frame = torch.zeros(len(problem.context), 16, 1, 1, 1, 1)
    latents = problem.context[:, None].expand(-1, 16, -1, -1)
    goal = problem.goal[:, None, None].expand(-1, 16, -1, -1)
    with torch.inference_mode():
        info = {"pixels": frame, "goal": frame, "emb": latents, "goal_emb": goal}
        theirs = peer.get_cost(info, actions) / problem.goal.shape[-1]  # a sum there, a mean here
        found = problem.cost()(actions)
    return ((theirs - found).abs().max() / found.abs().max()).item()


def pytorch_mppi(problem: Problem, peer: Any, iterations: int) -> Run:
    """One plan with pytorch-mppi: its dynamics are stable-worldmodel's predictor over the window in the state."""
    from pytorch_mppi import MPPI

    width, dim, window = 192, 10, 3

    def step(state: Tensor, action: Tensor, time: int) -> Tensor:
        """States (K, 3 x 192 + 2 x 10): the latents of the window, and the actions between them; both newest last."""
        latents = state[:, : window * width].unflatten(1, (window, width))
        actions = torch.cat([state[:, window * width :].unflatten(1, (window - 1, dim)), action[:, None]], dim=1)
        seen = min(window, time + 1)
        embedded = peer.action_encoder(actions[:, -seen:])
        after = peer.predict(latents[:, -seen:], embedded)[:, -1:]
        return torch.cat([torch.cat([latents[:, 1:], after], 1).flatten(1), actions[:, 1:].flatten(1)], dim=1)

    planner = MPPI(
        step,
        lambda state, action, time: torch.zeros(len(state)),
        nx=window * width + (window - 1) * dim,
        noise_sigma=torch.eye(dim),
        num_samples=SAMPLES,
        horizon=HORIZON,
        lambda_=0.5,
        u_min=-torch.ones(dim),
        u_max=torch.ones(dim),
        U_init=torch.zeros(HORIZON, dim),
        step_dependent_dynamics=True,
        terminal_state_cost=lambda states, actions: (
            (states[:, :, -1, (window - 1) * width : window * width] - problem.goal[0]).square().mean(-1)
        ),
    )
    start = torch.zeros(window * width + (window - 1) * dim)
    start[(window - 1) * width : window * width] = problem.context[0, -1]

    def plan() -> None:
        with torch.inference_mode():
            for _ in range(iterations):
                planner.command(start, shift_nominal_trajectory=False)

    return plan


# ------------------------------------------------------------------ comparing


def paired(name: str, peer: str, mine: Run, other: Run, pairs: int, iterations: int, batch: int = 1) -> dict[str, Any]:
    """A row: milliseconds of both sides, and the median of the pairs' ratios with the least and the largest."""
    times: list[tuple[float, float]] = []
    mine(), other()  # warm up
    for _ in range(pairs):
        begun = time.perf_counter()
        mine()
        between = time.perf_counter()
        other()
        times.append((1e3 * (between - begun), 1e3 * (time.perf_counter() - between)))
    ratios = sorted(theirs / found for found, theirs in times)
    row = {
        "what": name,
        "peer": peer,
        "batch": batch,
        "iterations": iterations,
        "pairs": pairs,
        "ours_ms": statistics.median(found for found, _ in times),
        "theirs_ms": statistics.median(theirs for _, theirs in times),
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
    }
    print(_line(row), flush=True)
    return row


def compare_lewm(pairs: int, iterations: int, batches: tuple[int, ...], compiled: bool) -> list[dict[str, Any]]:
    """LeWM at its released size, 300 samples, horizon 5, from one frame as stable-worldmodel plans."""
    rows = []
    model = make_model("lewm")
    matched = {"icem": {"decay": 1.0, "keep_fraction": 5 / ELITES, "noise_beta": 2.0}}  # as many rollouts as theirs
    for batch in batches:
        problem = make_problem(model, batch, frames=1)
        try:
            peer = peer_lewm(problem)
        except ImportError as error:
            print(f"stable-worldmodel cannot be imported, it is left out: {error}")
            break
        rounds = iterations if batch == 1 else max(2, iterations // batch)  # as long for many as for one
        difference = same_costs(problem, peer)
        assert difference < 1e-4, f"the two sides do not compute the same: costs differ by {difference:.1e}"
        for name in ("cem", "icem", "mppi"):
            mine = ours(problem, name, SAMPLES, rounds, **matched.get(name, {}))
            other = solver(problem, peer, name, rounds)
            rows.append(paired(f"LeWM, {name} 300 x 5", "stable-worldmodel", mine, other, pairs, rounds, batch))
        if batch == 1:
            try:
                other = pytorch_mppi(problem, peer, iterations)
            except ImportError as error:
                print(f"pytorch-mppi cannot be imported, it is left out: {error}")
            else:
                mine = ours(problem, "mppi", SAMPLES, iterations)
                rows.append(paired("LeWM, mppi 300 x 5", "pytorch-mppi", mine, other, pairs, iterations))
    problem = make_problem(model, 1, frames=1)
    rows.append(against_plain("LeWM, cem 300 x 5", problem, SAMPLES, iterations, pairs))
    if compiled and rows[0]["peer"] != "plain loop":
        model.compiled = True
        mine, other = ours(problem, "cem", SAMPLES, iterations), solver(problem, peer_lewm(problem), "cem", iterations)
        rows.append(paired("LeWM, cem 300 x 5, compiled", "stable-worldmodel", mine, other, pairs, iterations))
    return rows


def against_plain(
    name: str, problem: Problem, samples: int, iterations: int, pairs: int, horizon: int = HORIZON
) -> dict[str, Any]:
    """CEM against the plain loop."""
    elites = max(1, samples // 10)

    def loop() -> None:
        with torch.inference_mode():
            plain_cem(problem, samples, horizon, iterations, elites)

    mine = ours(problem, "cem", samples, iterations, horizon, num_elites=elites)
    return paired(name, "plain loop", mine, loop, pairs, iterations, len(problem.context))


def peak_share(iterations: int, peak: Peak, pairs: int) -> dict[str, Any]:
    """Of the machine's fastest matrix product, what CEM on LeWM reaches; the operations are those that are really done.

    The product is measured once more after each plan: other programs may have slowed it the first time.
    """
    problem = make_problem(make_model("lewm"), 1, frames=1)
    plan = ours(problem, "cem", SAMPLES, iterations)
    first, more = count_flops(problem.cost().predict, problem, HORIZON)
    plan()
    times = []
    for _ in range(pairs):
        begun = time.perf_counter()
        plan()
        times.append(time.perf_counter() - begun)
        peak = faster(peak, fastest_product(torch.float32))
    total = iterations * (first + (SAMPLES - 1) * more) + first
    seconds = statistics.median(times)
    reached = total / 1e9 / seconds
    return {
        "gflop": total / 1e9,
        "seconds": seconds,
        "peak_gflops": peak.gflops,
        "peak_product": peak.product,
        "share": peak.share(reached),
    }


def whole_act(preset: str, episodes: int = 6, steps: int = 50) -> dict[str, float]:
    """Milliseconds of a whole act() that plans, with encoding: the shipped Push-T model, random frames.

    Over whole episodes, as `wmplan eval` has them: a plan ends on arrival, so later ones look less far ahead.

    Args:
        preset: of configs/planner; "preset" is what the model's card recommends.
    """
    model = wmplan.load("pusht")
    controller = make_controller(model, compose("eval", [f"planner={preset}"])["planner"] or None)
    rng = np.random.default_rng(0)
    proprio = np.zeros(model.spec.proprio_dim, dtype=np.float32)

    def picture() -> NDArray[np.uint8]:
        return rng.integers(0, 256, (*model.spec.image_size, 3), dtype=np.uint8)

    times: list[float] = []
    for episode in range(episodes + 1):
        controller.reset(picture(), seeds=episode)
        for _ in range(steps):
            frame = picture()
            begun = time.perf_counter()
            controller.act({"pixels": frame, "proprio": proprio})
            if controller.planned and episode:  # the first episode warms up
                times.append(1e3 * (time.perf_counter() - begun))
    return percentiles(times)


# ------------------------------------------------------------------ reporting


def _line(row: dict[str, Any]) -> str:
    low, high = row["ratio_range"]
    per = row["iterations"]
    return (
        f"| {row['what']}, {row['batch']} environment(s) | {row['peer']} | {row['theirs_ms'] / per:.1f} | "
        f"{row['ours_ms'] / per:.1f} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}) |"
    )


def text(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    where, peaks, peak = results["machine"], results["peak_gflops"], results["peak"]
    lines = [
        "# Planning speed against peers",
        "",
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads of torch {where['torch']}; matrix "
        f"products reach {peaks['float32']:.0f} GFLOP/s in float32 and {peaks['bfloat16']:.3g} in bfloat16. "
        "Everything is in float32.",
        "",
        "| what | against | theirs, ms an iteration | ours, ms an iteration | theirs / ours, median (range) |",
        "|---|---|---|---|---|",
        *map(_line, results["rows"]),
        "",
        f"CEM on LeWM does {100 * peak['share']:.0f} % of the fastest matrix product that was seen "
        f"({peak['peak_gflops']:.0f} GFLOP/s, {peak.get('peak_product', 'torch.mm')}), counting the operations that "
        "are really done.",
        "",
        "| planner itself, 300 samples | p50, ms an iteration | p95 |",
        "|---|---|---|",
        *(f"| {one['planner']} | {one['ms']['p50']:.3f} | {one['ms']['p95']:.3f} |" for one in results["overhead"]),
    ]
    for preset, spent in results["act_ms"].items():
        p50, p95, p99 = (spent[name] for name in ("p50", "p95", "p99"))
        what = f"A whole act() of the shipped Push-T model over episodes of 50 steps, with the planner {preset}"
        lines += ["", f"{what}: p50 {p50:.1f} ms, p95 {p95:.1f}, p99 {p99:.1f}."]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], path: Path) -> None:
    """The ratios as bars, with their ranges."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = results["rows"][::-1]
    ratios = [row["ratio"] for row in rows]
    errors = np.array([[row["ratio"] - row["ratio_range"][0], row["ratio_range"][1] - row["ratio"]] for row in rows]).T
    figure, axis = pyplot.subplots(figsize=(8, 1.2 + 0.4 * len(rows)))
    bars = axis.barh(range(len(rows)), ratios, xerr=errors, color="#3b6ea5", ecolor="#777777")
    axis.bar_label(bars, [f"  {ratio:.2f}" for ratio in ratios])
    axis.set_yticks(range(len(rows)), [f"{row['what']}, batch {row['batch']} | {row['peer']}" for row in rows])
    axis.axvline(1.0, color="#777777", linewidth=0.8)
    axis.margins(x=0.12)
    axis.set_xlabel("time of the peer / ours, same weights and budget")
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    write_durably(path, lambda file: figure.savefig(file, format="png", dpi=120))
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=10, help="of a plan; the field's research preset has 30")
    parser.add_argument("--patch-samples", type=int, default=64, help="samples on DINO-WM; 0 leaves it out")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="environments planned together")
    parser.add_argument("--compile", action="store_true", help="also ours by torch.compile, which takes minutes more")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    options = parser.parse_args()
    data, picture = options.out / "planner.json", options.out / "planner.png"
    if options.draw:
        draw(json.loads(data.read_text()), picture)
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)  # the peers draw from the global generator
    peaks = measure_peaks("cpu")
    rows = compare_lewm(options.pairs, options.iterations, tuple(options.batches), options.compile)
    if options.patch_samples:
        problem = make_problem(make_model("dino_wm"), 1, frames=1)
        name = f"DINO-WM, cem {options.patch_samples} x 5"
        rows.append(against_plain(name, problem, options.patch_samples, 1, max(1, options.pairs // 2)))
        problem.model.window_restart = 1  # type: ignore[assignment]
        name += ", a full window begun anew with 1 frame"
        rows.append(against_plain(name, problem, options.patch_samples, 1, max(1, options.pairs // 2)))
    results = {
        "schema": 1,
        "machine": machine(),
        "peak_gflops": {name: peak.gflops for name, peak in peaks.items()},
        "rows": rows,
        "peak": peak_share(options.iterations, peaks["float32"], options.pairs),
        "overhead": [planner_overhead(name, 1.0) for name in ("cem", "icem", "mppi")],
        "act_ms": {preset: whole_act(preset) for preset in ("realtime", "preset")},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(data, results, indent=1)
    page = text(results)
    write_durably(options.out / "planner.md", lambda file: file.write(page.encode()))
    print(page)
    try:
        draw(results, picture)
    except ImportError:
        print(f"matplotlib is not installed here: python {Path(__file__).name} --draw makes the picture where it is")


if __name__ == "__main__":
    main()
