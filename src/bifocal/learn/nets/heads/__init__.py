"""Networks that read latents: transformers, selectors, pruning."""
