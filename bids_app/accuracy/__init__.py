"""How good the shipped weights are: on real scans without lesions, with painted lesions, and on simulated cords."""
