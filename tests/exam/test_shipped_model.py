"""The shipped model of clips: its card, its size, and that it notices what anyone would."""

from __future__ import annotations

import numpy as np
import pytest

from wmplan.exam.causal_model import CausalSubject
from wmplan.exam.examine import quadruplets
from wmplan.exam.examinees import load_any, subject_of
from wmplan.exam.scoring import pairs_won
from wmplan.exam.subject import Window
from wmplan.listing import list_models
from wmplan.models.loading import SHIPPED, shipped_models
from wmplan.random_streams import Stream
from wmplan.registry import EXAMS

NAME = "physics"


def test_its_card_tells_what_was_measured_and_how_it_is_made_again() -> None:
    card = shipped_models()[NAME]
    found = card["figures"]["exam"]
    assert card["command"].startswith("wmplan pretrain data=data/clips objective=next")
    assert card["data"]["command"].startswith("wmplan data clips") and found["command"].startswith("wmplan physics")
    rates = [one["pairs_won"] for one in found["properties"].values()]
    assert len(rates) == 9 and card["figures"]["pairs_won"] == pytest.approx(np.mean(rates), abs=1e-3)
    assert found["controls"]["true simulator"] == 1 and found["controls"]["identical twins"] == 0.5
    assert sum(file.stat().st_size for file in (SHIPPED / NAME).iterdir()) < 8e6


@pytest.mark.slow
def test_the_models_are_listed_with_it() -> None:
    (told,) = [one for one in list_models().split("\n\n") if one.startswith(f"{NAME} ")]
    assert "pairs won" in told and "20 frames of 64 x 64" in told
    assert max(map(len, list_models().splitlines())) <= 118


@pytest.mark.slow
def test_it_notices_what_vanishes_in_plain_view() -> None:
    """Pairs of a seed that no figure was measured on."""
    subject = subject_of(load_any(NAME, "cpu"), NAME)
    assert isinstance(subject, CausalSubject)
    source = EXAMS["scenes"](subject.image_size)
    drawn = list(quadruplets(source, "permanence", [1, 3, 5, 7], 77, Stream.EXAM_CHOICE))
    surprise = subject.sit(drawn, [Window(4, 2, 2, 4, 8)])[0].max(-1)
    source.close()
    assert pairs_won(surprise).mean() >= 0.75
