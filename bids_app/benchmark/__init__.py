"""What the app costs in time and memory, beside others and beside its targets."""
