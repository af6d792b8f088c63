"""Talking with a model, in values: a conversation, its branches, and what is typed at it.

Each turn carries the state that the model had at its end: undoing a turn, or going on with another
branch, takes that state up again.
"""
