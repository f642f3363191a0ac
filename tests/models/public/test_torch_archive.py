"""Reading files of torch.save without running what is in them."""

import contextlib
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from wmplan.models.checkpoint import CheckpointError
from wmplan.models.public.torch_archive import TorchArchive, stored_tensors


class Masked(nn.Module):
    """A module with everything that a state dict does or does not hold."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.weight = nn.Parameter(torch.randn(5, 2).T)
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.register_buffer("shown", torch.arange(6).reshape(2, 3)[:, 1:])
        self.bias = torch.ones(7)  # a plain attribute
        self.nothing = None


class Bomb:
    """Runs a command where it is unpickled for good."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def read(path):
    archive = TorchArchive(path)
    return {name: archive.read(tensor) for name, tensor in stored_tensors(archive.content)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_state_dicts_come_out_as_torch_reads_them(tmp_path, dtype):
    state = {"model": Masked().to(dtype).state_dict(), "epoch": 3, "opt": [1, {"lr": 0.1}]}
    torch.save(state, tmp_path / "a.pt")
    ours, theirs = read(tmp_path / "a.pt"), torch.load(tmp_path / "a.pt", weights_only=True)["model"]
    assert ours.keys() == {f"model.{name}" for name in theirs}
    for name, tensor in theirs.items():
        assert ours[f"model.{name}"].dtype == tensor.dtype
        assert torch.equal(ours[f"model.{name}"], tensor)


def test_a_pickled_module_gives_its_state_dict(tmp_path):
    module = Masked()
    torch.save({"predictor": module, "epoch": torch.tensor(1)}, tmp_path / "a.pth")
    tensors = read(tmp_path / "a.pth")
    assert tensors.pop("epoch") == 1
    assert tensors.keys() == {f"predictor.{name}" for name in module.state_dict()}
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensors[f"predictor.{name}"], tensor)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    witness = tmp_path / "it ran"
    bomb = Bomb(f"touch '{witness}'")
    torch.save({"predictor": bomb, "weight": torch.ones(2)}, tmp_path / "a.pt")
    tensors = read(tmp_path / "a.pt")
    assert not witness.exists()
    assert tensors.keys() == {"weight"}
    torch.load(tmp_path / "a.pt", weights_only=False)  # the bomb is a real one
    assert witness.exists()


@pytest.mark.parametrize(
    "code",
    [
        b'cbuiltins\neval\n(S\'open("%s", "w")\'\ntR.',  # calls a builtin
        b"\x80\x04c__builtin__\ngetattr\n(cos\nsystem\nS'__call__'\ntR.",
        b"\x80\x02cposix\nsystem\n(S'touch %s'\ni.",
    ],
)
def test_hand_made_pickles_run_nothing(tmp_path, code):
    witness = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", code.replace(b"%s", str(witness).encode()))
    with contextlib.suppress(CheckpointError):
        assert not list(stored_tensors(TorchArchive(tmp_path / "a.pt").content))
    assert not witness.exists()


def test_broken_files_get_one_line(tmp_path):
    torch.save({"weight": torch.randn(2000)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for name, content in (
        ("cut.pt", whole[: len(whole) // 2]),
        ("empty.pt", b""),
        ("text.pt", b"not a model"),
        ("pickle.pt", pickle.dumps({"weight": [1, 2]})),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
    broken = bytearray(whole)
    at = whole.index(torch.load(tmp_path / "whole.pt")["weight"].numpy().tobytes())
    broken[at + 100] ^= 255
    (tmp_path / "flipped.pt").write_bytes(broken)
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path / "flipped.pt")
