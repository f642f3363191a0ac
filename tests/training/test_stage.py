"""One stage: what it trains, how it is saved, and that it goes on as if nothing had happened."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.interruption import Interrupted
from wmplan.training import stage as module
from wmplan.training.stage import Stage


class Counted:
    """An endless stream of batches, each another one; `at` is called before the batch of a number is handed out."""

    def __init__(self, at: dict[int, Any] | None = None) -> None:
        self.number, self.at = 0, at or {}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            self.number += 1
            if self.number in self.at:
                self.at[self.number]()
            yield {"x": torch.randn(16, 6, generator=torch.Generator().manual_seed(self.number))}

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


def make_net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))


def make_stage(folder: Path, at: dict[int, Any] | None = None, **options: Any) -> Stage:
    net = make_net()

    def loss(batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        noise = torch.randn(16, 6, generator=generator)
        return (net(batch["x"]) + 0.1 * noise).square().mean(), {}

    given = {"steps": 12, "learning_rate": 0.01, "weight_decay": 0.0, "optimizer": "adamw", "seed": 0} | options
    return Stage("tiny", net, loss, Counted(at), folder=folder, **given)


def weights(stage: Stage) -> list[Tensor]:
    return [parameter.detach() for parameter in stage.module.parameters()]


def require_equal(one: Stage, other: Stage) -> None:
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    strip = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert strip(one.rows) == strip(other.rows)


def test_one_part_may_take_the_steps_of_adamw_beside_muon(tmp_path: Path) -> None:
    """Adam's first step has the size of the learning rate in every weight; Muon's has not."""
    net = make_net()
    before = [layer.weight.detach().clone() for layer in (net[0], net[2])]
    stage = Stage(
        "both",
        net,
        lambda batch, generator: (net(batch["x"]).square().mean(), {}),
        Counted(),
        steps=1,
        learning_rate=0.01,
        weight_decay=0.0,
        optimizer="muon",
        adamw_part=net[2],
        seed=0,
        folder=tmp_path,
    )
    stage.run()
    moved = [(layer.weight.detach() - old).abs() for layer, old in zip((net[0], net[2]), before, strict=True)]
    assert moved[0].max() > 2 * moved[0].min()
    assert moved[1].numpy() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 5, 8, 11])
def test_a_signal_saves_the_step_under_way_and_the_rest_is_the_same(tmp_path: Path, number: int, step: int) -> None:
    whole = make_stage(tmp_path / "whole", save_every=4)
    whole.run()
    cut = make_stage(tmp_path / "cut", {step: lambda: os.kill(os.getpid(), number)}, save_every=4)
    with pytest.raises(
        Interrupted, match=f"tiny is saved at step {step} of 12, the same command goes on there"
    ) as stop:
        cut.run()
    assert stop.value.signal == number
    again = make_stage(tmp_path / "cut", save_every=4)
    again.run()
    require_equal(whole, again)
    assert again.batches.number == 12  # none was seen twice


@pytest.mark.parametrize("moment", ["show", "save", "evaluate"])
def test_a_signal_at_any_moment_of_a_step_leaves_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    sent = []

    def asked(*arguments: Any) -> Any:
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return done(*arguments)

    done = getattr(Stage, moment, lambda *arguments: {})
    if moment != "evaluate":
        monkeypatch.setattr(Stage, moment, asked)
    cut = make_stage(tmp_path, save_every=4, evaluate=asked if moment == "evaluate" else None)
    with pytest.raises(Interrupted) as stop:
        cut.run()
    monkeypatch.undo()
    again = make_stage(tmp_path, save_every=4)
    again.restore()
    assert str(stop.value) == f"stage tiny is saved at step {again.step} of 12, the same command goes on there"


def test_a_signal_at_the_last_step_says_that_the_stage_is_finished(tmp_path: Path) -> None:
    cut = make_stage(tmp_path, {12: lambda: os.kill(os.getpid(), signal.SIGINT)})
    with pytest.raises(Interrupted, match="tiny is finished and saved"):
        cut.run()


def test_a_second_signal_leaves_the_last_save(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    stage = make_stage(tmp_path, {7: twice}, save_every=3)
    with pytest.raises(Interrupted):
        stage.run()
    assert stage.position() == "stage tiny is saved at step 6 of 12, the same command goes on there"
    again = make_stage(tmp_path, save_every=3)
    again.restore()
    assert again.step == 6


def test_it_is_saved_by_time_between_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def wait() -> None:
        clock[0] += 20.0

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    stage = make_stage(tmp_path / "cut", {step: wait for step in range(1, 9)} | {9: kill}, save_every=1000)
    with pytest.raises(Killed):
        stage.run()
    again = make_stage(tmp_path / "cut", save_every=1000)
    again.restore()
    assert again.step == 8 and again.rows == []  # saved at 40, 80, 120 and 160 seconds, without a report
    again.run()
    whole = make_stage(tmp_path / "whole", save_every=1000)
    whole.run()
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))


def test_a_full_disk_gets_one_line_and_the_last_save_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(tmp_path, save_every=4)
    sync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:  # a file and its folder for the first save and its log
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("wmplan.atomic_io.os.fsync", full)
        with pytest.raises(UserError, match=r"tiny.checkpoint.pt could not be written: No space left .*make room"):
            stage.run()
    again = make_stage(tmp_path, save_every=4)
    again.run()
    whole = make_stage(tmp_path / "whole", save_every=4)
    whole.run()
    require_equal(whole, again)


def test_a_damaged_save_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    make_stage(tmp_path, steps=2).run()
    path = tmp_path / "tiny.checkpoint.pt"
    content = path.read_bytes()
    for position in torch.randint(len(content), (40,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(
            UserError, match=r"tiny.checkpoint.pt is damaged.*delete it, and this stage is trained again"
        ):
            make_stage(tmp_path, steps=2).run()
    path.unlink()
    make_stage(tmp_path, steps=2).run()


def test_a_save_made_from_something_else_is_refused_by_name(tmp_path: Path) -> None:
    make_stage(tmp_path, steps=2, made_from={"settings": {"seed": 0}, "encoder": "a"}).run()
    make_stage(tmp_path, steps=2, made_from={"settings": {"seed": 0}, "encoder": "a"}).run()
    with pytest.raises(UserError, match=r"was made with settings.seed=0, this run has 1"):
        make_stage(tmp_path, steps=2, made_from={"settings": {"seed": 1}, "encoder": "a"}).run()
    with pytest.raises(UserError, match=r"was made with encoder='a', this run has 'b'"):
        make_stage(tmp_path, steps=2, made_from={"settings": {"seed": 0}, "encoder": "b"}).run()


@pytest.mark.parametrize("damage", ["", "{", "no json\n", '{"step": 2}\n{"st'])
def test_a_damaged_log_is_written_anew_from_the_save(tmp_path: Path, damage: str) -> None:
    make_stage(tmp_path, steps=4, save_every=2).run()
    log = tmp_path / "tiny.jsonl"
    good = log.read_text()
    assert [json.loads(line)["step"] for line in good.splitlines()] == [2, 4]
    log.write_text(damage)
    make_stage(tmp_path, steps=4, save_every=2).run()
    assert log.read_text() == good


def test_the_loss_is_shown_before_the_first_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def wait() -> None:
        clock[0] += 6.0

    make_stage(tmp_path, {2: wait}, save_every=12).run()
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny 2/12") and "loss" in first and last.startswith("tiny 12/12")


def test_settings_of_the_optimiser_may_follow_schedules_of_their_own(tmp_path: Path) -> None:
    """AdamW's first step has the size of the learning rate; what no weight decay acts on is not shrunk beside it."""
    seen: list[tuple[float, ...]] = []
    stage = make_stage(
        tmp_path,
        schedules={"lr": lambda step: 0.1 * (step + 1), "weight_decay": lambda step: 1.0 + step},
        weight_decay=1.0,
        decay_matrices_only=True,
        after_step=lambda: seen.append(tuple(group["lr"] for group in stage.optimizer.param_groups)),
        steps=2,
    )
    bias, matrix = stage.module[0].bias, stage.module[0].weight  # type: ignore[index, union-attr]
    before = [part.detach().clone() for part in (bias, matrix)]
    stage.one_step(next(iter(stage.batches)))
    torch.testing.assert_close((bias - before[0]).abs(), torch.full_like(bias, 0.1), rtol=1e-3, atol=0)
    torch.testing.assert_close((matrix - before[1] * 0.9).abs(), torch.full_like(matrix, 0.1), rtol=1e-3, atol=0)
    stage.one_step(next(iter(stage.batches)))
    assert seen == [(0.1, 0.1), (0.2, 0.2)]
    assert [group["weight_decay"] for group in stage.optimizer.param_groups] == [2.0, 0.0]
