"""Devices that run networks of mixed-precision matrix products: what they have, and how long layers take."""
