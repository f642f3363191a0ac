"""How much serving several robots together gains: plans a second of 8 sessions at once, against one after another.

    python benchmarks/serving.py [--model pusht] [--sessions 8] [--plans 20] [--planner realtime] [--runs 3]

One server in a process of its own (`wmplan serve`), reached over loopback. First every session plans alone, each
beginning when the one before has ended; then all plan at the same time, each asking anew as soon as it has its
reply. Both are the same number of plans from the same frames. The best of some runs counts, since only that is not
disturbed by other load. The requirement is a gain of at least 2.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from wmplan.control.backend import PlanRequest
from wmplan.serving.client import PolicyClient

REQUIRED = 2.0
WARM_UP = 3  # plans of every session before the clock runs


def frames(client: PolicyClient, robot: int, count: int) -> list[PlanRequest]:
    """What a robot sees: noise, which takes as long to plan from as anything."""
    rng, told = np.random.default_rng(robot), client.metadata
    low, high = np.array(told["action_low"]), np.array(told["action_high"])
    made = []
    for _ in range(count):
        seen = {name: rng.integers(0, 256, (*told["image_size"], 3), np.uint8) for name in told["cameras"]}
        if told["proprio_dim"]:
            seen["proprio"] = np.zeros(told["proprio_dim"], np.float32)
        executed = rng.uniform(low, high, (told["action_horizon"], len(low))).astype(np.float32)
        made.append(PlanRequest(seen, executed=executed))
    return made


def connect(url: str, robot: int) -> PolicyClient:
    client = PolicyClient(url, timeout=60.0, connect_timeout=60.0)
    client.set_goal(frames(client, 1000 + robot, 1)[0].observation)
    client.reset(robot)
    return client


def drive(client: PolicyClient, requests: list[PlanRequest]) -> list[float]:
    """Plan from each frame as soon as there is a reply to the one before; the times in ms."""
    times = []
    for request in requests:
        begun = time.perf_counter()
        client.plan(request)
        times.append(1e3 * (time.perf_counter() - begun))
    return times


def measure(url: str, sessions: int, plans: int) -> tuple[float, float, float, float]:
    """Plans a second one after another and at once, and the median time of a plan in ms of either."""
    clients = [connect(url, robot) for robot in range(sessions)]
    requests = [frames(client, robot, plans + WARM_UP) for robot, client in enumerate(clients)]
    for client, own in zip(clients, requests, strict=True):
        drive(client, own[:WARM_UP])
    begun = time.perf_counter()
    alone = [ms for client, own in zip(clients, requests, strict=True) for ms in drive(client, own[WARM_UP:])]
    one_by_one = time.perf_counter() - begun

    barrier = Barrier(sessions + 1)

    def at_once(robot: int) -> list[float]:
        drive(clients[robot], requests[robot][:WARM_UP])
        barrier.wait()
        return drive(clients[robot], requests[robot][WARM_UP:])

    with ThreadPoolExecutor(sessions) as pool:
        waiting = [pool.submit(at_once, robot) for robot in range(sessions)]
        barrier.wait()
        begun = time.perf_counter()
        together = [ms for one in waiting for ms in one.result()]
        at_the_same_time = time.perf_counter() - begun
    for client in clients:
        client.close()
    total = sessions * plans
    return total / one_by_one, total / at_the_same_time, statistics.median(alone), statistics.median(together)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--plans", type=int, default=20, help="of each session")
    parser.add_argument("--planner", default="preset", help="a file of configs/planner")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    command = [sys.executable, "-m", "wmplan.cli", "serve", "port=0", f"model={options.model}"]
    bounds = [
        f"bounds.max_sessions={options.sessions}",
        f"bounds.max_batch={options.sessions}",
        "bounds.max_rate=10000",
    ]
    server = subprocess.Popen([*command, f"planner={options.planner}", *bounds], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        banner = server.stdout.readline()
        if not banner:
            return 1
        print(banner.strip())
        url = next(word for word in banner.split() if word.startswith("ws://"))
        results = [measure(url, options.sessions, options.plans) for _ in range(options.runs)]
    finally:
        server.terminate()
        server.wait()
    alone, together = max(one[0] for one in results), max(one[1] for one in results)
    took = [min(one[which] for one in results) for which in (2, 3)]
    print(f"one after another: {alone:7.1f} plans/s, a plan takes {took[0]:6.1f} ms")
    print(f"{options.sessions} at once:         {together:7.1f} plans/s, a plan takes {took[1]:6.1f} ms")
    gain = together / alone
    print(f"gain: {gain:.2f} times (required: {REQUIRED:g})")
    return int(gain < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
