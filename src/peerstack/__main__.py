"""`python -m peerstack` is the `peerstack` command, for where scripts are not on the path."""

import sys

from peerstack.cli import main

sys.exit(main())
