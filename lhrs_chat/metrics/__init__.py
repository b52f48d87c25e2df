"""Measures of answers against the truth, in numpy."""
