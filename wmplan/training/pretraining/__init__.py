"""Pretraining without actions: an encoder learns from frames alone."""
