"""Adapter files of other programs, read and written; and saying what any file is."""
