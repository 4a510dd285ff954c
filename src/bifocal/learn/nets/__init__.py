"""Torch building blocks: wavelets, convolution blocks, exact integer layers, priors, quantisers."""
