"""Checkpoints to packed models: graphs, integers, int8, heads."""
