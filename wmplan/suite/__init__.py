"""Public suites by their published protocols: one table, with the published figures beside those measured here."""
