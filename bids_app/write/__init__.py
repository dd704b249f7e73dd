"""The room that writes: BIDS derivatives, the dataset around them, and the manifest of the run."""
