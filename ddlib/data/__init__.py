"""Data: manifests, splits, sources, downloads, the cache of prepared images, batches."""
