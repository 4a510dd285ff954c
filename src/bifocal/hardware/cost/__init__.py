"""What a network costs in memory traffic: coders of activations, layers of a graph, energy, a report."""
