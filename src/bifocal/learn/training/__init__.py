"""One training loop, its objective, data, optimiser and packing. With nets and systems, torch's only home."""
