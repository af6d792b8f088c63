"""RWKV-PEFT's name of merge.py for files of state; merge.py sees by itself what they are."""

import sys

from merge import main

if __name__ == "__main__":
    sys.exit(main(["merge", *sys.argv[1:]]))
