"""Speed and memory, measured as ratios of two ways taken in one run."""
