"""What RWKV-PEFT calls epochs: a number of steps, after which it logs and perhaps saves.

There an epoch was `epoch_steps` micro-batches on all devices together, so that it had

    ceil(epoch_steps / (devices num_nodes accumulate_grad_batches))

optimizer steps; so it has here.
"""

from dataclasses import dataclass

from eyas.errors import UserError
from eyas.rwkv_peft.flags import Given


@dataclass(frozen=True)
class Epochs:
    """So many optimizer steps each."""

    steps: int
    count: int
    begin: int = 0
    save: int = 1

    @property
    def total(self) -> int:
        """Optimizer steps of the run."""
        return self.steps * self.count

    def number_saved_after(self, step: int) -> int | None:
        """N of the rwkv-N.pth that is written after this step; None where none is."""
        if step % self.steps or not step:
            return None
        epoch = step // self.steps - 1
        due = epoch == self.count - 1 or (self.save > 0 and epoch % self.save == 0)
        return self.begin + epoch if due else None

    def numbers_saved(self) -> list[int]:
        """N of all of them."""
        found = (self.number_saved_after(i * self.steps) for i in range(1, self.count + 1))
        return [number for number in found if number is not None]


def epochs_of(given: Given) -> Epochs:
    """Raises UserError where there would be no step."""
    begin, count = given["epoch_begin"], given["epoch_count"]
    count = min(count, given["my_exit"] - begin + 1)
    wrong = [
        f"--{name} {given[name]} must be at least {least}"
        for name, least in (("epoch_steps", 1), ("epoch_count", 1), ("epoch_begin", 0))
        if given[name] < least
    ]
    if count < 1 and not wrong:
        wrong.append(f"--my_exit {given['my_exit']} ends the run before it begins")
    if wrong:
        raise UserError("; ".join(wrong))
    return Epochs(-(-given["epoch_steps"] // _at_once(given)), count, begin, given["epoch_save"])


def lines_on_epochs(given: Given) -> list[str]:
    """What to say of them where a step is not a micro-batch."""
    at_once = _at_once(given)
    if at_once == 1:
        return []
    return [
        f"an epoch of {given['epoch_steps']} micro-batches is {epochs_of(given).steps} optimizer "
        f"steps of {at_once}"
    ]


def _at_once(given: Given) -> int:
    """Micro-batches of an optimizer step."""
    at_once: int = given["devices"] * given["num_nodes"] * given["accumulate_grad_batches"]
    return max(1, at_once)
