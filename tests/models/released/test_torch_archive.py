"""Reading files of torch.save without running what is in them."""

import contextlib
import os
import pickle
import struct
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wmplan.models import CheckpointError, load
from wmplan.models.released.torch_archive import Storage, StoredTensor, TorchArchive, stored_tensors


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


# ------------------------------------------------------------------ archives that were made to do harm


def archive_of(path, content=b"\x80\x02}.", members=(("a/data/0", bytes(64)),), **options):
    """A zip file with a pickle and other members."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in members:
            archive.writestr(name, data)
    return path


def refusal(path):
    with pytest.raises(CheckpointError, match=path.name) as raised:
        read(path)
    assert str(raised.value).isprintable()
    return str(raised.value)


STORAGE = Storage("0", torch.float32)  # of 16 numbers


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "message"),
    [
        (0, (2**38,), (0,), "must not be larger than the file"),
        (0, (2**20, 2**20), (0, 0), "must not be larger than the file"),
        (0, (2**61, 2**61, 2**61), (0, 0, 0), "must not be larger than the file"),
        (0, (0, 2**61, 2**61), (1, 1, 1), "must not be larger than the file"),
        (0, (17,), (1,), "reaches beyond its data"),
        (9, (8,), (1,), "reaches beyond its data"),
        (0, (4, 4), (5, 1), "reaches beyond its data"),
        (2**61, (1,), (1,), "reaches beyond its data"),
        (0, (2,), (2**61,), "reaches beyond its data"),
        (0, (4,), (-1,), "whole numbers from 0 on"),
        (-1, (4,), (1,), "whole numbers from 0 on"),
        (0, (-4,), (1,), "whole numbers from 0 on"),
        (0, (2, 2), (1,), "one for each axis"),
        (0, (2.5,), (1,), "whole numbers"),
        (0, ("a",), (1,), "whole numbers"),
        (0, (True,), (1,), "whole numbers"),
        (0, [4], [1], "whole numbers"),
        (0, None, None, "whole numbers"),
    ],
)
def test_layouts_that_the_data_do_not_have_are_refused(tmp_path, offset, shape, stride, message):
    archive = TorchArchive(archive_of(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match=message) as raised:
        archive.read(StoredTensor(STORAGE, torch.float32, offset, shape, stride))
    assert "a.pt" in str(raised.value)


LAYOUTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=4)


@given(LAYOUTS, st.integers(0, 16), st.sampled_from([torch.float32, torch.float64, torch.int8, torch.bool]))
@settings(max_examples=150, deadline=None)
def test_every_layout_within_the_data_reads_as_torch_reads_it(tmp_path_factory, sizes, offset, dtype):
    path = tmp_path_factory.getbasetemp() / "layouts.pt"
    data = bytes(i % 2 for i in range(64))
    if not path.exists():
        archive_of(path, members=[("a/data/0", data)])
    shape, stride = tuple(n for n, _ in sizes), tuple(s for _, s in sizes)
    stored = StoredTensor(Storage("0", dtype), dtype, offset, shape, stride)
    try:
        expected = torch.frombuffer(bytearray(data), dtype=dtype).as_strided(shape, stride, offset).clone()
    except RuntimeError:
        with pytest.raises(CheckpointError, match="reaches beyond its data"):
            TorchArchive(path).read(stored)
    else:
        assert torch.equal(TorchArchive(path).read(stored), expected)


def test_many_views_of_one_storage_are_read_once(tmp_path):
    flat = torch.arange(1000.0)
    torch.save({str(i): flat[i * 10 : i * 10 + 10] for i in range(100)}, tmp_path / "a.pt")
    for i, tensor in read(tmp_path / "a.pt").items():
        assert torch.equal(tensor, flat[int(i) * 10 : int(i) * 10 + 10])


def test_views_that_read_everything_again_and_again_are_refused(tmp_path):
    """Two storages in turn: each view would read one of them as a whole."""
    one, two = torch.zeros(2_000_000), torch.zeros(2_000_000)
    torch.save({str(i): (one, two)[i % 2][:1] for i in range(20)}, tmp_path / "a.pt")
    assert "must not be larger than the file" in refusal(tmp_path / "a.pt")


def test_dicts_in_each_other_are_followed_as_far_as_in_any_checkpoint(tmp_path):
    loop = {}
    loop["a"] = loop
    shared = {}
    for _ in range(40):
        shared = {"a": shared, "b": shared}
    deep = torch.ones(1)
    for _ in range(99):
        deep = {"a": deep}
    torch.save(deep, tmp_path / "deep.pt")
    assert len(read(tmp_path / "deep.pt")) == 1
    for name, content, message in (
        ("loop.pt", loop, "at most 100 dicts in each other; one may contain itself"),
        ("shared.pt", shared, "at most 200000 dicts and tensors"),
        ("deeper.pt", {"a": {"a": {"a": deep}}}, "at most 100 dicts in each other"),
        ("names.pt", {"x" * 10_000: {"y": torch.ones(1)}}, "a name in it must have at most 500 characters"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=f"{name}.*{message}") as raised:
            load(tmp_path / name)
        assert str(raised.value).isprintable()


def test_zip_files_that_torch_does_not_write(tmp_path):
    bomb = archive_of(tmp_path / "bomb.pt", members=[("a/data/0", bytes(10**6))], compression=zipfile.ZIP_DEFLATED)
    assert "but none that torch.save wrote" in refusal(bomb)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive_of(tmp_path / "twice.pt", members=[("a/data/0", b"1"), ("a/data/0", b"2")])
    assert "but none that torch.save wrote" in refusal(twice)
    two = archive_of(tmp_path / "two.pt", members=[("b/data.pkl", b"N.")])
    assert "but none that torch.save wrote" in refusal(two)
    big = archive_of(tmp_path / "big.pt", members=[("a/byteorder", b"big")])
    assert "big-endian" in refusal(big)


def test_a_member_that_claims_to_be_larger_than_the_file(tmp_path):
    path = archive_of(tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of a/data/0 in the directory at the end
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its part a/data/0 must have at most"):
        TorchArchive(path).read(StoredTensor(STORAGE, torch.float32, 0, (4,), (1,)))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    assert "must be a file" in refusal(tmp_path / "a.pt")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of torch.save, its bytes, and its tensors."""
    torch.manual_seed(0)
    content = {"model": nn.Linear(4, 3).state_dict(), "whole": Masked(), "opt": {0: torch.ones(2)}}
    path = tmp_path_factory.mktemp("written") / "a.pt"
    torch.save(content, path)
    return path, path.read_bytes(), read(path)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_gives_the_same_tensors_or_one_line(written, data):
    path, whole, tensors = written
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del damaged[place:]
    path.write_bytes(damaged)
    try:
        found = read(path)
    except CheckpointError as error:
        assert str(error).isprintable()
    else:
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
