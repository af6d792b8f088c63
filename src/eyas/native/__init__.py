"""What is compiled: a shared library in C++ behind a plain C interface, called through ctypes.

It is built when eyas is installed where there is a C++ compiler (`setup.py`), and needs neither
Python's nor PyTorch's headers. Where it is missing everything works without it, more slowly;
`missing()` says why. ctypes lets other threads run while a function of the library does.
"""

from eyas.native.loading import library, missing
from eyas.native.trie import NoTokenError, Trie

__all__ = ["NoTokenError", "Trie", "library", "missing"]
