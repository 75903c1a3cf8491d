"""Detectors to take away: open, score, predict, export, measure, release."""
