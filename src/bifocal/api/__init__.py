"""The product: encode a picture, decode a stream, read labels from it, say what is in it.

Every function here is on the public face: :func:`bifocal.encode` and so on.
"""
