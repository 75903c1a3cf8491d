"""The study on one set of images: its models, results, published numbers and report."""
