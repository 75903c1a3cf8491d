"""Pictures: read any file safely, JPEG, faces, overlays, perturbations."""
