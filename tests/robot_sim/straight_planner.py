"""A planner for the point robot that knows everything: straight to the goal, from where its frame and the committed
actions say that the point will be."""

import numpy as np
from point_robot import REACH, place

from wmplan.control.backend import PlanReply

STEP = 0.1  # seconds in a robot step


class StraightPlanner:
    def __init__(self, steps=25, noise=0.0):
        self.steps, self.noise, self.goal, self.plans, self.resets = steps, noise, None, 0, 0

    def reset(self, seed):
        self.rng, self.resets, self.goal = np.random.default_rng(seed), self.resets + 1, None

    def set_goal(self, goal):
        self.goal = place(goal["pixels"])

    def plan(self, request):
        self.plans += 1
        at = place(request.observation["pixels"])
        if request.committed is not None and len(request.committed):
            at = at + STEP * request.committed.sum(axis=0)
        actions = []
        for _ in range(self.steps):
            action = np.clip((self.goal - at) / STEP, -REACH, REACH)
            if self.noise:
                action = action + self.rng.normal(0, self.noise, 2)
            at = at + STEP * action
            actions.append(action)
        return PlanReply(np.array(actions, np.float32), request.epoch, float(np.linalg.norm(at - self.goal)), 1.0)
