"""Train: the weights of the lesion model and of the built-in cord localiser."""
