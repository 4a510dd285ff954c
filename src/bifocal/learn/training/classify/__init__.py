"""Teaching a head classes: checks, batches, networks, judging, report."""
