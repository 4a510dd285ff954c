"""The torch wing: networks, systems, data, training and packing."""
