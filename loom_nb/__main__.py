"""`python -m loom_nb` is `loom-nb`."""

import sys

from loom_nb.cli import main

sys.exit(main())
