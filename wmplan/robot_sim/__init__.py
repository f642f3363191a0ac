"""A simulated robot that behaves like a real one: it does not wait for the planner, its camera is late, things break.

Everything runs on one thread, which owns the GL context: physics in small steps, the camera at its own rate, and the
control loop, which is wmplan.control.RealtimeController over a served planner or one of this process. Time is the
wall clock's, or simulated, so that a run can be repeated exactly and hundreds of them take seconds.
"""
