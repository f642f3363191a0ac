from __future__ import annotations

import itertools
from collections.abc import Callable

import h5py
import numpy as np
import pytest
import torch

from wmplan.data.meta import DataError
from wmplan.data.sampler import WindowSampler, split_episodes
from wmplan.data.store import EpisodeStore

LENGTHS = (17, 4, 9, 25, 16, 8, 30)
FRAMES, STRIDE = 3, 4
Make = Callable[..., EpisodeStore]
EVERYWHERE = pytest.mark.parametrize("memory", [True, False])


def every_window(lengths: tuple[int, ...], frames: int, stride: int) -> list[tuple[int, int]]:
    return [
        (ep, start) for ep, rows in enumerate(lengths) for start in range(rows) if start + (frames - 1) * stride < rows
    ]


def origins(batch: dict[str, torch.Tensor]) -> list[tuple[int, int]]:
    """(episode, start) of each window, from what the synthetic pixels spell out."""
    return [tuple(window[:2]) for window in batch["pixels"][:, 0, 0, 0].tolist()]


@EVERYWHERE
def test_windows_are_the_rows_and_the_actions_between_them(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)
    sampler = WindowSampler(store, FRAMES, STRIDE, 5, memory=memory, group=2)
    for batch in itertools.islice(sampler, 2 * sampler.num_batches):
        assert batch["pixels"].shape == (5, FRAMES, 4, 5, 3)
        assert batch["pixels"].dtype == torch.uint8
        for window, (episode, start) in enumerate(origins(batch)):
            rows = store.episode(episode)
            for frame in range(FRAMES):
                row = start + frame * STRIDE
                np.testing.assert_array_equal(batch["pixels"][window, frame], rows["pixels"][row])
                np.testing.assert_array_equal(batch["proprio"][window, frame], rows["proprio"][row])
            for block in range(FRAMES - 1):
                oldest_first = [number for t in range(STRIDE) for number in rows["action"][start + block * STRIDE + t]]
                assert batch["action"][window, block].tolist() == oldest_first
        assert torch.isfinite(batch["action"]).all()


@EVERYWHERE
def test_an_epoch_is_every_window_once(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)
    windows = every_window(LENGTHS, FRAMES, STRIDE)
    sampler = WindowSampler(store, FRAMES, STRIDE, 1, memory=memory, group=2)
    assert sampler.num_batches == len(windows)
    stream = iter(sampler)
    epochs = [[origins(next(stream))[0] for _ in windows] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(windows)
    assert epochs[0] != epochs[1]


@EVERYWHERE
def test_the_order_is_the_seeds(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)

    def first(seed: int) -> list[tuple[int, int]]:
        return origins(next(iter(WindowSampler(store, FRAMES, STRIDE, 20, seed, memory=memory, group=2))))

    assert first(3) == first(3)
    assert first(3) != first(4)
    assert sorted(first(3)) != first(3)


@EVERYWHERE
def test_goes_on_exactly_where_it_stopped(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)

    def fresh() -> WindowSampler:
        return WindowSampler(store, FRAMES, STRIDE, 7, 5, memory=memory, group=2)

    count = 3 * fresh().num_batches
    whole = [origins(batch) for batch in itertools.islice(fresh(), count)]
    for stop in range(count):
        stopped = fresh()
        for _ in itertools.islice(stopped, stop):
            pass
        resumed = fresh()
        resumed.load_state_dict(stopped.state_dict())
        assert [origins(batch) for batch in itertools.islice(resumed, count - stop)] == whole[stop:]


def test_a_state_of_another_order_is_refused(make_store: Make) -> None:
    store = make_store(LENGTHS)
    state = WindowSampler(store, FRAMES, STRIDE, 5, seed=1).state_dict()
    with pytest.raises(DataError, match="seed=1, now it is 2"):
        WindowSampler(store, FRAMES, STRIDE, 5, seed=2).load_state_dict(state)
    with pytest.raises(DataError, match="batch_size=5, now it is 6"):
        WindowSampler(store, FRAMES, STRIDE, 6, seed=1).load_state_dict(state)
    with pytest.raises(DataError, match="windows=57, now it is 48"):
        WindowSampler(store, FRAMES, STRIDE, 5, seed=1, episodes=range(1, 7)).load_state_dict(state)


def test_a_state_of_other_episodes_of_the_same_length_is_refused(make_store: Make) -> None:
    store = make_store([12, 12, 12])
    state = WindowSampler(store, FRAMES, STRIDE, 5, episodes=[0, 1]).state_dict()
    with pytest.raises(DataError, match="episodes="):
        WindowSampler(store, FRAMES, STRIDE, 5, episodes=[0, 2]).load_state_dict(state)


@EVERYWHERE
def test_once_is_every_window_of_the_chosen_episodes(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)
    chosen = [5, 0, 6]
    sampler = WindowSampler(store, FRAMES, STRIDE, 4, episodes=chosen, memory=memory, group=2)
    batches = [origins(batch) for batch in sampler.once()]
    windows = [window for window in every_window(LENGTHS, FRAMES, STRIDE) if window[0] in chosen]
    assert sorted(itertools.chain(*batches)) == sorted(windows)
    assert [len(batch) for batch in batches[:-1]] == [4] * (len(batches) - 1)
    assert sampler.state_dict()["batch"] == 0


@EVERYWHERE
def test_extra_columns_stay_beside_their_rows(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)
    latent = np.random.default_rng(0).normal(size=(store.num_rows, 6)).astype(np.float32)
    sampler = WindowSampler(
        store,
        FRAMES,
        STRIDE,
        5,
        episodes=[6, 2, 3],
        columns=("pixels",),
        extra={"latent": latent},
        memory=memory,
        group=2,
    )
    for batch in sampler.once():
        assert set(batch) == {"pixels", "latent"}
        for window, (episode, start) in enumerate(origins(batch)):
            first = store.offsets[episode] + start
            np.testing.assert_array_equal(batch["latent"][window], latent[first : first + 9 : STRIDE])


def test_no_more_than_two_groups_of_bounded_size_are_in_memory(
    make_store: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(LENGTHS)
    row = sum(
        int(np.prod(shape)) * dtype.itemsize for name, (shape, dtype) in store.columns.items() if name == "pixels"
    )
    monkeypatch.setattr("wmplan.data.sampler.GROUP_BYTES", 60 * row)
    sampler = WindowSampler(store, FRAMES, STRIDE, 5, memory=False, columns=("pixels",))
    read: list[int] = []
    load = sampler._load

    def counted(episodes: np.ndarray) -> dict[str, np.ndarray]:
        rows = load(episodes)
        read.append(len(rows["pixels"]))
        return rows

    monkeypatch.setattr(sampler, "_load", counted)
    for batch in sampler.once():
        assert len(batch["pixels"]) <= 5
    assert max(read) <= 60 and sum(read) == sum(rows for rows in LENGTHS if rows > (FRAMES - 1) * STRIDE)


def test_single_frames_have_no_actions(make_store: Make) -> None:
    store = make_store(LENGTHS)
    batch = next(iter(WindowSampler(store, 1, STRIDE, 5)))
    assert batch["pixels"].shape[:2] == (5, 1)
    assert batch["action"].shape[:2] == (5, 0)


@EVERYWHERE
def test_numbers_that_are_not_finite_are_named(make_store: Make, memory: bool) -> None:
    store = make_store(LENGTHS)
    path = store.paths[1]
    store.close()
    with h5py.File(path, "r+") as file:
        file["action"][25 + 7, 1] = np.nan  # the shard's episodes are 3, 4, 5, of 25, 16 and 8 rows
    store = EpisodeStore.open(path.parent.parent)
    with pytest.raises(DataError, match="action of episode 4 at step 7 is not finite"):
        next(iter(WindowSampler(store, FRAMES, STRIDE, 5, episodes=[4], memory=memory)))


def test_mistakes_get_one_line(make_store: Make) -> None:
    store = make_store(LENGTHS)
    with pytest.raises(DataError, match="stride must be at least 1, got 0"):
        WindowSampler(store, 3, 0, 5)
    with pytest.raises(DataError, match="has 0 windows of 20 frames at a stride of 4"):
        WindowSampler(store, 20, 4, 5)
    with pytest.raises(DataError, match="no column 'depth'; it has action, "):
        WindowSampler(store, 3, 4, 5, columns=("depth",))
    with pytest.raises(DataError, match="'latent' has 3 rows, the data set has 109"):
        WindowSampler(store, 3, 4, 5, extra={"latent": np.zeros((3, 2))})


def test_the_global_generators_are_left_alone(make_store: Make) -> None:
    store = make_store(LENGTHS)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    next(iter(WindowSampler(store, FRAMES, STRIDE, 5)))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


@pytest.mark.parametrize("episodes", [2, 3, 40, 1000])
def test_the_split_covers_all_without_overlap(episodes: int) -> None:
    training, validation = split_episodes(episodes, 0.1)
    assert sorted([*training, *validation]) == list(range(episodes))
    assert len(training) and len(validation)
    if episodes == 1000:
        assert 60 < len(validation) < 140  # four standard errors of a binomial


def test_the_split_stays_when_data_is_added() -> None:
    _, small = split_episodes(300, 0.1)
    _, large = split_episodes(1000, 0.1)
    assert [episode for episode in large if episode < 300] == small.tolist()
    assert split_episodes(300, 0.1, seed=1)[1].tolist() != small.tolist()


def test_a_split_that_cannot_be() -> None:
    with pytest.raises(DataError, match="at least 2"):
        split_episodes(1)
    with pytest.raises(DataError, match="validation must be a share between 0 and 1, got 1.0"):
        split_episodes(10, 1.0)
