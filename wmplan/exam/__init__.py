"""Intuitive physics: whether a model is surprised by clips in which something impossible happens.

Clips come from sources that are registered (`@wmplan.register_exam`), as tasks are; nothing here knows a simulator.
"""
