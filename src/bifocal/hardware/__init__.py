"""What breaks the hardware that a codec runs on: circuits as netlists, faults in them, and what they do.

No codec is known here and no torch: NumPy, Numba and the standard library.
"""
