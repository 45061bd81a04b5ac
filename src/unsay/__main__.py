"""`python -m unsay` is `unsay`."""

from __future__ import annotations

import sys

from unsay.entry import main

if __name__ == "__main__":
    sys.exit(main())
