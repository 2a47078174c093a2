"""Shell commands for the model: read as a syntax tree first, then run in a sandbox after leave is given."""
