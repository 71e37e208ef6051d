"""Bridges from ReaLM to engines made for many GPUs. No other file of the project needs them."""
