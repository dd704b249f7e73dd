import os
import sys
from pathlib import Path

version = Path(os.environ["SCT_DIR"], "spinalcordtoolbox", "version.txt").read_text()
sys.stdout.write(f"--\nSpinal Cord Toolbox (stub)\n\n{version}")
