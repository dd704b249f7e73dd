import sys

sys.exit("ValueError: the stub knows no vertebrae")
