"""The command line as ``python -m snowplow_aio``."""

import sys

from snowplow_aio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
