"""The network, its parts, and its weights on disk."""
