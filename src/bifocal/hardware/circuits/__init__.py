"""Circuits: a netlist of look-up tables and flip-flops, and the stimulus that drives it."""
