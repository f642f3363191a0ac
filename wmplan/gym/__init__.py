"""Gymnasium environments of any kind, with what they lack of wmplan.environment filled in; see wmplan.gym.adapter."""
