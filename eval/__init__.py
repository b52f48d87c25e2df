"""Measuring a model: benchmarks, resumable runs, tables with standard errors. The library never imports this."""
