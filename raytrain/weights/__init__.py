"""Weights in and out: files of other libraries, their names for our tensors, and which class a head's row is."""
