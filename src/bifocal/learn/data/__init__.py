"""Training data: crops, labelled folders, views of streams."""
