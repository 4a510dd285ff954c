"""Faults: what a flipped bit of the configuration, an upset or a broken net does to a circuit's outputs."""
