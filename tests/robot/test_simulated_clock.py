"""Threads that wait in simulated time do the same at the same time, however fast they are."""

import threading
import time

import pytest

from wmplan.robot.simulated_clock import SimulatedClock


@pytest.mark.parametrize("work", [0.0, 0.003])
def test_what_a_thread_does_after_a_wait_is_done_before_time_goes_on(work):
    clock, log, busy = SimulatedClock(), [], threading.Event()
    clock.running, clock.idle = True, lambda: not busy.is_set()

    def worker():
        for _ in range(4):
            time.sleep(work)
            clock.wait(0.15)
            log.append(("worker", round(clock(), 6)))
        busy.clear()

    busy.set()
    threading.Thread(target=worker, daemon=True).start()
    for tick in range(1, 9):
        clock.sleep_until(0.1 * tick)
        log.append(("robot", round(clock(), 6)))
    assert log == [
        ("robot", 0.1),
        ("worker", 0.15),
        ("robot", 0.2),
        ("worker", 0.3),
        ("robot", 0.3),
        ("robot", 0.4),
        ("worker", 0.45),
        ("robot", 0.5),
        ("worker", 0.6),
        ("robot", 0.6),
        ("robot", 0.7),
        ("robot", 0.8),
    ]


def test_before_it_runs_and_after_it_stops_nobody_waits():
    clock = SimulatedClock()
    clock.wait(1.0)
    clock.running = True
    waiter = threading.Thread(target=clock.wait, args=(1.0,), daemon=True)
    waiter.start()
    while not clock._waiting:
        time.sleep(0.001)
    clock.stop()
    waiter.join(5)
    assert not waiter.is_alive() and clock() == 0.0


def test_time_never_goes_back():
    clock = SimulatedClock()
    clock.sleep_until(2.0)
    clock.sleep_until(1.0)
    assert clock() == 2.0
