"""The helpers of serving.py under a name that tests can import."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
