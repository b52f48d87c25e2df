"""Making a model: `python -m training RECIPE [a.b=c ...]`."""
