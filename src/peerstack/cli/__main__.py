"""`python -m peerstack.cli` is the `peerstack` command, for where scripts are not on the path."""

import sys

from .entry import main

sys.exit(main())
