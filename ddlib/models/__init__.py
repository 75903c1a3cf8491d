"""Training a detector, saving it, running it, looking inside it."""
