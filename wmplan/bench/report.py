"""What a benchmark found: a table for the terminal, a file, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmplan import text_table
from wmplan.atomic_io import write_durably, write_json

Json = dict[str, Any]
COLUMNS = (
    "model",
    "planner",
    "batch x samples x horizon x iterations",
    "p50 ms",
    "p95",
    "p99",
    "plans/s",
    "rollouts/s",
    "steps/s",
    "of peak",
    "MB",
    "own ms/it",
    "plain loop",
)


def table(results: Json) -> str:
    """The results as text, a line a case."""
    text = text_table.table(COLUMNS, [_cells(row) for row in results["rows"]], left=3)
    where, peaks, settings = results["machine"], results["peak_gflops"], results["settings"]
    head = (
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads; matrix products reach "
        f"{peaks['float32']:.0f} GFLOP/s in float32 ({results['peak_product']['float32']}) and {peaks['bfloat16']:.3g} "
        f"in bfloat16 ({results['peak_product']['bfloat16']}); "
        f"models compute in {settings['dtype']}"
    )
    own = ", ".join(f"{one['planner']} {one['ms']['p50']:.2f}" for one in results["overhead"])
    samples = results["overhead"][0]["samples"]
    foot = f"the planner itself, {samples} samples, ms an iteration: {own}"
    return "\n".join([head, "", text, "", foot])


def _cells(row: Json) -> tuple[str, ...]:
    times, plain = row["plan_ms"], row["plain_ms"]
    return (
        row["model"],
        row["planner"],
        " x ".join(str(row[name]) for name in ("batch", "samples", "horizon", "iterations")),
        *(f"{times[name]:.1f}" for name in ("p50", "p95", "p99")),
        f"{row['plans_per_s']:.3g}",
        f"{row['rollouts_per_s']:.0f}",
        f"{row['model_steps_per_s']:.0f}",
        f"{100 * row['peak_share']:.0f} %",
        f"{row['memory_mb']:.1f}",
        f"{row['overhead_ms']:.2f}",
        "" if plain is None else f"{plain / times['p50']:.1f} x as long",
    )


def write(results: Json, folder: Path) -> list[Path]:
    """Write bench.json and bench.png into the folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / "bench.json", folder / "bench.png"
    write_json(data, results, indent=1)
    draw(results, picture)
    return [data, picture]


def draw(results: Json, path: Path) -> None:
    """Rollouts a second of each case as bars, a panel for each model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row["model"] for row in results["rows"]))
    most = max(sum(row["model"] == name for row in results["rows"]) for name in models)
    figure, axes = pyplot.subplots(1, len(models), figsize=(5.2 * len(models), 1.6 + 0.34 * most), squeeze=False)
    for axis, name in zip(axes[0], models, strict=True):
        rows = [row for row in results["rows"] if row["model"] == name][::-1]
        labels = [f"{row['planner']} {'x'.join(_cells(row)[2].split(' x '))}" for row in rows]
        bars = axis.barh(range(len(rows)), [row["rollouts_per_s"] for row in rows], color="#3b6ea5")
        axis.bar_label(bars, [f" {row['plan_ms']['p50']:.3g} ms, {100 * row['peak_share']:.0f} %" for row in rows])
        axis.set_yticks(range(len(rows)), labels)
        axis.margins(x=0.35)
        axis.set_title(f"{name}, {rows[0]['parameters'] / 1e6:.1f} M parameters")
        axis.set_xlabel("rollouts/s (labels: p50 of a plan, share of the matrix-product peak)")
        axis.spines[["top", "right"]].set_visible(False)
    figure.supylabel("planner, batch x samples x horizon x iterations", fontsize=9)
    figure.tight_layout()
    write_durably(path, lambda file: figure.savefig(file, format="png", dpi=110))
    pyplot.close(figure)
