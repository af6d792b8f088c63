"""A chat with its branches, as a value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eyas.chat.conversation import Conversation
from eyas.chat.settings import Settings
from eyas.config import did_you_mean
from eyas.errors import UserError

MAIN = "main"


@dataclass(frozen=True)
class Session:
    """Conversations by the names of their branches, and on which one it goes on."""

    settings: Settings = field(default_factory=Settings)
    branches: Mapping[str, Conversation] = field(default_factory=lambda: {MAIN: Conversation()})
    branch: str = MAIN
    files: Mapping[str, Path] = field(default_factory=dict)  # where each branch was saved last

    @property
    def conversation(self) -> Conversation:
        return self.branches[self.branch]

    def going_on(self, conversation: Conversation) -> "Session":
        """The same with another conversation on this branch."""
        return dataclasses.replace(self, branches={**self.branches, self.branch: conversation})

    def forked(self, name: str, conversation: Conversation) -> "Session":
        """On a new branch. Raises UserError where that name is taken, or none."""
        if len(name.split()) != 1:
            raise UserError("/fork NAME: a branch has a name of one word")
        if name in self.branches:
            raise UserError(f"/fork {name}: there is such a branch; /switch {name} goes to it")
        branches = {**self.branches, name: conversation}
        return dataclasses.replace(self, branches=branches, branch=name)

    def switched(self, name: str) -> "Session":
        """On another branch. Raises UserError where there is none of that name."""
        if name not in self.branches:
            known = ", ".join(self.branches)
            raise UserError(
                f"/switch {name}: no such branch{did_you_mean(name, self.branches)}; there are "
                f"{known}"
            )
        return dataclasses.replace(self, branch=name)

    def saved_at(self, path: Path) -> "Session":
        return dataclasses.replace(self, files={**self.files, self.branch: path})

    def without_states(self) -> "Session":
        """For another model."""
        branches = {name: talk.without_states() for name, talk in self.branches.items()}
        return dataclasses.replace(self, branches=branches)

    def free_name(self, wanted: str) -> str:
        """A name for a new branch: that, or that with a number."""
        wanted = "-".join(wanted.split()) or MAIN
        numbered = (f"{wanted}-{n}" for n in range(2, len(self.branches) + 3))
        return next(name for name in (wanted, *numbered) if name not in self.branches)
