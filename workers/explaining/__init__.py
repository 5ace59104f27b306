"""Explanations for people and machines: from a series' saved state to sentences, numbers and a picture."""
