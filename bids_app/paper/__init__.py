"""The experiments of Walsh et al. (MICCAI 2024) on simulated cohorts: train the methods, score them, check the claims."""
