"""Pruned transformers: what a block costs, the losses, selectors one by one."""
