"""What does memory traffic cost, and how small can it be made?"""
