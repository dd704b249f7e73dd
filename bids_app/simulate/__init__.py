"""Simulate: whole participants with lesions, as training samples and as BIDS datasets."""
