"""One training loop, its objective, data, optimiser and packing. Torch lives here, in systems and in nets."""
