"""The browser demo: `python -m demo`. The library never imports this."""
