"""`python -m eyas.rwkv_peft train FLAGS`, and `merge FLAGS`."""

import sys

from eyas.rwkv_peft.program import main

sys.exit(main(sys.argv[1:]))
