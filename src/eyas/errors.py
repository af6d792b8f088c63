"""The one exception that users see."""


class UserError(Exception):
    """A mistake the user can mend: the message names the place, the value and the next step.

    The command line prints it on standard error without a traceback and exits with code 2.
    Anything else that is raised is a fault of ours and keeps its traceback.
    """


class ToldElsewhereError(UserError):
    """Another process of the run has met the mistake too, and tells it."""
