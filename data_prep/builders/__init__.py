"""Builders turn facts into rows a model is trained on."""
