"""What people start: commands, batches, plug-ins."""
