"""Frames arrive as late as they should, and show what they should."""

import numpy as np
import pytest
from point_robot import place

from wmplan.errors import UserError
from wmplan.robot_sim.camera import Camera, CameraConfig
from wmplan.robot_sim.faults import Fault, FaultSchedule


def seen(point, config, faults=(), seconds=1.0, seed=0):
    """The newest frame at every 10 ms while the point moves 1 m/s along x, so that its place tells the time."""
    camera = Camera(point, config, FaultSchedule(faults), np.random.default_rng(seed))
    frames = []
    for step in range(round(seconds * 100)):
        camera.look(step / 100)
        frames.append(camera.newest(step / 100))
        point.step_substeps(np.array([1.0, 0.0]), 1)
    return camera, frames


def captured(frame):
    return place(frame.observation["pixels"])[0]


def test_a_frame_shows_the_time_it_is_stamped_with(point):
    _, frames = seen(point, CameraConfig(rate=20))
    for frame in frames:
        assert captured(frame) == pytest.approx(frame.captured, abs=1e-3)


@pytest.mark.parametrize(("rate", "latency_ms"), [(20, 0), (20, 100), (50, 200), (10, 30)])
def test_the_age_is_latency_plus_what_passes_until_the_next_frame(point, rate, latency_ms):
    _, frames = seen(point, CameraConfig(rate=rate, latency_ms=latency_ms))
    ages = [step / 100 - frame.captured for step, frame in enumerate(frames)][round(latency_ms / 10) :]
    assert min(ages) == pytest.approx(latency_ms / 1000, abs=0.0101)
    assert max(ages) <= latency_ms / 1000 + 1 / rate + 1e-6


def test_the_rate_need_not_divide_that_of_the_physics(point):
    _, frames = seen(point, CameraConfig(rate=30), seconds=2.0)
    assert len({frame.captured for frame in frames}) == 60


def test_a_delay_is_added_while_it_lasts(point):
    _, frames = seen(point, CameraConfig(rate=100), [Fault("camera_delay", 0.3, 0.3, 0.2)])
    ages = np.array([step / 100 - frame.captured for step, frame in enumerate(frames)])
    assert np.allclose(ages[:30], 0) and ages[49] == pytest.approx(0.2) and ages[55] == pytest.approx(0.2)
    assert np.allclose(ages[62:], 0)


def test_jitter_lets_no_frame_pass_one_that_is_newer(point):
    _, frames = seen(point, CameraConfig(rate=100, jitter_ms=80))
    stamps = [frame.captured for frame in frames]
    assert stamps == sorted(stamps) and len(set(stamps)) < 90
    ages = [step / 100 - stamp for step, stamp in enumerate(stamps)]
    assert 0.01 < max(ages) < 0.09


def test_dropped_frames_never_arrive(point):
    camera, frames = seen(point, CameraConfig(rate=100), [Fault("frames_dropped", 0.2, 0.5)])
    assert camera.dropped == 50
    assert {frame.captured for frame in frames[20:70]} == {0.19}
    half, _ = seen(point, CameraConfig(rate=100), [Fault("frames_dropped", 0.0, None, 0.5)], seconds=4)
    assert 140 < half.dropped < 260


def test_a_frozen_camera_repeats_its_picture_under_fresh_stamps(point):
    _, frames = seen(point, CameraConfig(rate=100), [Fault("camera_frozen", 0.2, 0.5)])
    assert [round(captured(frame), 2) for frame in frames[20:70]] == [0.2] * 50
    assert [round(frame.captured, 2) for frame in frames[20:70]] == [round(0.01 * step, 2) for step in range(20, 70)]
    assert captured(frames[75]) == pytest.approx(0.75, abs=1e-3)


def test_a_covered_camera_is_dark_and_a_bumped_one_stands_elsewhere_until_the_end(point):
    faults = [Fault("camera_covered", 0.2, 0.2), Fault("camera_bumped", 0.6, 0.2)]
    camera, frames = seen(point, CameraConfig(rate=100), faults)
    assert frames[30].observation["pixels"].max() < 40 < frames[10].observation["pixels"].max()
    assert not np.array_equal(frames[30].observation["pixels"], frames[31].observation["pixels"])  # it is not frozen
    bumped = [frame.observation["pixels"][..., 2].max() == 200 for frame in frames]
    assert bumped == [60 <= step < 80 for step in range(100)]
    assert point.variation.factors == {}
    camera.close()


def test_what_is_no_camera_is_named():
    with pytest.raises(UserError, match="camera.rate must be above 0 frames a second, got 0.0"):
        CameraConfig(rate=0)
    with pytest.raises(UserError, match="camera.latency_ms must be at least 0, got -1.0"):
        CameraConfig(latency_ms=-1)
