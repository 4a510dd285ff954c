"""Thin adapters that let other libraries open and save streams: Pillow, imageio."""
