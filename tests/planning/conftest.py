"""Hypothesis measures the machine's load unless it is told not to."""

from hypothesis import HealthCheck, settings

settings.register_profile("planning", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("planning")
