"""Pages, charts and films of results."""
