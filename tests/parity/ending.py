"""A module that ends with the exit code that it is given: `python -m tests.parity.ending PARENT CODE`."""

import sys

if __name__ == "__main__":
    sys.exit(int(sys.argv[2]))
