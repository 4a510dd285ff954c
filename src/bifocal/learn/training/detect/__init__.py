"""Training a detector: what it learns from, how it is judged, and what a run leaves."""
