"""Rasters, coordinate frames, tiles, measures and map output. No torch in here."""
