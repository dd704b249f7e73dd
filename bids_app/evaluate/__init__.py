"""Evaluate: predicted lesion masks against reference masks."""
