"""Entropy models: priors, hyperpriors, the exact integer layers."""
