"""What reads latents: the head file, its network, its windows."""
