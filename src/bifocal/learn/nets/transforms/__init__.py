"""Transforms: wavelets, convolution blocks, attention."""
