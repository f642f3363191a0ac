"""Signals: the first is noted, the second stops."""

import os
import signal
import threading

import pytest

from wmplan.interruption import Interrupted, Interruption, termination_raises


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_stops(number: int) -> None:
    with pytest.raises(Interrupted) as stop, Interruption() as interruption:
        assert interruption.signal is None
        os.kill(os.getpid(), number)
        assert interruption.signal == number
        os.kill(os.getpid(), number)
    assert stop.value.signal == number and isinstance(stop.value, KeyboardInterrupt)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with termination_raises(), Interruption():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_sigterm_raises_where_it_is_asked_to() -> None:
    with pytest.raises(Interrupted) as stop, termination_raises():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.signal == signal.SIGTERM


def test_another_thread_changes_no_handler() -> None:
    seen = []

    def work() -> None:
        with termination_raises(), Interruption() as interruption:
            seen.append(interruption.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
