"""What is to happen happens in its order and at its time."""

from wmplan.robot_sim.simulated_clock import SimulatedClock


def test_events_happen_in_the_order_of_their_times_and_may_bring_others():
    clock, log = SimulatedClock(), []
    clock.at(0.3, lambda: log.append(("late", clock())))
    clock.at(0.1, lambda: (log.append(("early", clock())), clock.at(0.2, lambda: log.append(("brought", clock())))))
    clock.at(0.3, lambda: log.append(("after it", clock())))
    clock.sleep_until(0.25)
    assert log == [("early", 0.1), ("brought", 0.2)] and clock() == 0.25
    clock.sleep_until(1.0)
    assert log[2:] == [("late", 0.3), ("after it", 0.3)] and clock() == 1.0


def test_time_never_goes_back():
    clock, log = SimulatedClock(), []
    clock.sleep_until(2.0)
    clock.at(1.0, lambda: log.append(clock()))
    clock.sleep_until(1.5)
    assert log == [2.0] and clock() == 2.0
