"""``python -m bids_app.train`` is the same as ``mscord-train``, also where the package is not installed."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
