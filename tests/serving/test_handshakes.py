"""Who has to go where there are too many connections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmplan.serving.handshakes import Handshakes, network_of


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("10.0.0.7", 1234), "10.0.0.7"),
        (("::ffff:10.0.0.7", 1234, 0, 0), "10.0.0.7"),
        (("2001:db8:1:2:3:4:5:6", 1234, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::1", 99, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1234, 0, 2), "fe80::/64"),
        (("::1", 1, 0, 0), "::/64"),
        ("/run/socket", ""),
        (None, ""),
        ((), ""),
        (("nonsense", 1), ""),
    ],
)
def test_what_counts_as_one_address(peer: object, network: str) -> None:
    assert network_of(peer) == network


@given(
    st.integers(1, 4),
    st.integers(1, 10),
    st.lists(st.one_of(st.sampled_from("abcd"), st.integers(0, 30)), max_size=60),
)
def test_no_bound_is_ever_passed_and_only_the_oldest_go(of_one: int, of_all: int, events: list[str | int]) -> None:
    """Against a plain list: a letter begins a connection of that address, a number ends one."""
    handshakes: Handshakes[int] = Handshakes(of_one, of_all)
    under_way: list[tuple[str, int]] = []
    for number, event in enumerate(events):
        if isinstance(event, int):
            handshakes.end(event)
            under_way = [one for one in under_way if one[1] != event]
            continue
        under_way.append((event, number))
        dropped = handshakes.begin(number, event)
        counts = {address: sum(one[0] == address for one in under_way) for address, _ in under_way}
        if counts[event] > of_one:
            expected = next(one for one in under_way if one[0] == event)
        elif len(under_way) > of_all:
            most = max(counts.values())
            expected = next(one for one in under_way if counts[one[0]] == most and one[1] == dropped)
            assert expected == next(one for one in under_way if one[0] == expected[0])
        else:
            assert dropped is None
            continue
        assert dropped == expected[1]
        under_way.remove(expected)
        assert len(handshakes) == len(under_way) <= of_all
