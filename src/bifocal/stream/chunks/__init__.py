"""What a stream holds beside its latents: one file a chunk."""
