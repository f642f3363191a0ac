"""The real-time loop: act() answers at once, planning happens in the background."""

# %% A simulated table stands for the robot
import time

import gymnasium

import wmplan
from wmplan.control import Limits, RealtimeConfig, RealtimeController

model = wmplan.load("pusht")
env = gymnasium.make("wmplan.envs:wmplan/PushT-v0", image_size=model.spec.image_size).unwrapped
observation, _ = env.reset(seed=7)
goal = env.goal_observation()

# %% Limits: what is sent to the robot keeps to them whatever the planner says
limits = Limits(low=model.spec.action_low, high=model.spec.action_high, max_change=(0.1, 0.1))

# %% Ten robot steps at the model's rate
with RealtimeController.of(model, limits=limits, config=RealtimeConfig(wait_first=True)) as controller:
    controller.reset({"pixels": goal["pixels"]}, seed=0)
    due = None  # the time of the next robot step; known once the first plan, which is waited for, is there
    for _ in range(10):
        action = controller.act(observation, time.monotonic())
        observation, *_ = env.step(action)
        due = (due or time.monotonic()) + 1 / model.spec.control_rate
        time.sleep(max(0.0, due - time.monotonic()))
    print(controller.statistics.line())
env.close()
