"""What runs a worker over many files.

An engine is one file with one function that takes a worker, an iterator of tasks and the number of jobs, and
yields a result for each task as it is finished.
"""
