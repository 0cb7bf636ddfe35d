"""``python -m uprightpose`` is the command ``uprightpose``."""

import sys

from uprightpose.cli import main

if __name__ == "__main__":
    sys.exit(main())
