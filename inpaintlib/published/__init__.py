"""Weights that others published: read as data, without running a line hidden in a file, and made safetensors."""
