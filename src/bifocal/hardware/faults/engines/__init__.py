"""What simulates faults: compiled, interpreted, and by a simulator."""
