"""Files with a checksum: whatever bit changes, reading says so."""

import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.checked import DamagedFileError, check, read_json_checked, write_checked, write_json_checked
from wmplan.errors import UserError

MADE_FROM = {"settings": {"seed": 3, "loss": {"rate": 1e-3}}, "data": "ab12", "encoder": None}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checked") / "file.bin"
    write_checked(path, lambda file: file.write(bytes(range(256))), MADE_FROM)
    return path


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_noticed(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    position, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    content[position] ^= 1 << bit
    damaged = file.with_name("damaged.bin")
    damaged.write_bytes(content)
    with pytest.raises(DamagedFileError, match="damaged.bin is damaged.*: delete it"):
        check(damaged)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_file_that_is_cut_or_that_grew_is_noticed(file: Path, data: st.DataObject) -> None:
    content = file.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=12))
    damaged = file.with_name("cut.bin")
    for wrong in (content[:cut], content[cut + 1 :], content + extra, extra + content):
        damaged.write_bytes(wrong)
        with pytest.raises(DamagedFileError):
            check(damaged)


@pytest.mark.parametrize(
    "content", [b"", b"00000009\n", b"99999999\n", b"{}\n00000003\n", b"[1]\n00000004\n", b"\xff" * 99]
)
def test_a_file_of_someone_else_is_no_checked_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        check(path)


def test_an_empty_content_is_a_content(tmp_path: Path) -> None:
    write_checked(tmp_path / "empty", lambda file: None, {})
    assert check(tmp_path / "empty") == {}


def test_readers_of_the_format_take_the_file_as_it_is(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    write_checked(tmp_path / "a.npy", lambda file: np.save(file, array), MADE_FROM)
    assert check(tmp_path / "a.npy") == MADE_FROM
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), array)
    torch.save({"x": torch.arange(5)}, content := io.BytesIO())
    write_checked(tmp_path / "b.pt", lambda file: file.write(content.getbuffer()), MADE_FROM)
    assert check(tmp_path / "b.pt") == MADE_FROM
    assert torch.equal(torch.load(tmp_path / "b.pt", weights_only=True)["x"], torch.arange(5))


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "make room and run"), (errno.EROFS, "intact, run")])
def test_a_disk_that_refuses_gets_one_line_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    path = tmp_path / "file"
    write_checked(path, lambda file: file.write(b"old"), MADE_FROM)

    def refuse(descriptor: int) -> None:
        raise OSError(number, "so it is")

    monkeypatch.setattr("wmplan.atomic_io.os.fsync", refuse)
    with pytest.raises(UserError, match=f"file could not be written: so it is; .*{says}"):
        write_checked(path, lambda file: file.write(b"new"), MADE_FROM)
    assert check(path) == MADE_FROM and path.read_bytes().startswith(b"old")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_json_is_read_back_or_refused_for_any_change(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    document = {"settings": {"seed": 0, "name": "ä"}, "rows": [1.5, None]}
    write_json_checked(path, document)
    assert read_json_checked(path) == document
    text = path.read_text()
    assert json.loads(text)["settings"]["seed"] == 0  # for people
    for old, new in [
        ('"seed": 0', '"seed": 1'),
        ("1.5", "1.6"),
        ('"sha256": "', '"sha256": "0'),
        ("}", ""),
        ("{", "["),
    ]:
        path.write_text(text.replace(old, new))
        with pytest.raises(DamagedFileError, match="train.json is damaged"):
            read_json_checked(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedFileError):
        read_json_checked(path)
