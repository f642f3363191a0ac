"""A controller drives the simulated Push-T table to a goal image, one action a robot step."""

# %% The model and a controller with the settings of its card
import gymnasium

import wmplan
from wmplan.control import make_controller

model = wmplan.load("pusht")
controller = make_controller(model)

# %% An environment, and a goal: the table as it looks after 2.5 s of exploration
env = gymnasium.make("wmplan.envs:wmplan/PushT-v0", image_size=model.spec.image_size).unwrapped
observation, _ = env.reset(seed=7)
start = env.get_state()
policy = env.exploration_policy(env.np_random)
for _ in range(25):
    env.step_physics(policy(env.task_state()))
env.set_goal(env.get_state())
env.set_state(start)
goal_image = env.goal_observation()["pixels"]  # uint8 (64, 64, 3)

# %% The loop: frame in, action out
controller.reset(goal_image, seeds=0)
observation = env.observe()
for step in range(50):
    action = controller.act(observation)  # (2,), in m/s, within bounds
    observation, *_ = env.step(action)
    distance = float(env.task.distance(env.task_state(), env.goal))  # about 1 where the first rule begins to hold
    if controller.planned:
        print(f"step {step:2}: planned in {controller.plan_ms:.0f} ms, distance to the goal {distance:.2f}")
reached = bool(env.task.rules(env.task_state(), env.goal)["public"])
print("the goal is reached" if reached else "the goal is not reached: see Results for how often it is")
env.close()
