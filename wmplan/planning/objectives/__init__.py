"""Objectives: costs of predicted latents against the goal's."""
