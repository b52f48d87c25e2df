"""Making training data: sources of facts, builders of questions, filters. The library never imports this."""
