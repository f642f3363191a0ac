"""What the C library does with freed memory, counted in page faults of a process of its own."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from wmplan.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [np.ones(1 << 20) for _ in range(6)]  # 8 MiB each, all held at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
does = keep_freed_memory()
faults()
print(does, given_back, faults())
"""


def run(**environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    does, before, after = done.stdout.split()
    return does == "True", int(before), int(after)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_used_again():
    does, before, after = run()
    if not does:
        pytest.skip("this system's C library is not glibc")
    assert before > 5000  # 5 x 6 x 2048 pages
    assert after < before / 20


def test_a_setting_of_the_users_own_stays():
    does, _, _ = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not does
