"""Words in and out of a model: chat templates, box dialects, the one answer parser. No torch, no transformers."""
