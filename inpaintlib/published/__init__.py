"""Weights that others published: read as data, without running a line hidden in a file, and converted to safetensors."""
