"""The methods there are. A new one is a file of its own and a name here."""

from collections.abc import Mapping
from typing import TypeAlias, get_args

from eyas.adapters.bat import Bat
from eyas.adapters.full import Full
from eyas.adapters.loftq import LoftQ
from eyas.adapters.lora import LoRA
from eyas.adapters.miss import MiSS
from eyas.adapters.olora import OLoRA
from eyas.adapters.pissa import PiSSA
from eyas.adapters.state import State
from eyas.config import did_you_mean, from_mapping, to_mapping
from eyas.errors import UserError

AnyMethod: TypeAlias = PiSSA | LoRA | OLoRA | LoftQ | MiSS | Bat | State | Full
METHODS: tuple[type[AnyMethod], ...] = get_args(AnyMethod)

_OTHER_NAMES = {"bone": "miss", "disha": "miss", "sft": "full"}


def method_named(name: str, settings: Mapping[str, object], where: str) -> AnyMethod:
    """The method of that name with these settings. Raises UserError where there is none."""
    by_name = {cls.name: cls for cls in METHODS}
    name = _OTHER_NAMES.get(name, name)
    if name not in by_name:
        raise UserError(
            f"{where}: no method '{name}'{did_you_mean(name, by_name)}; "
            f"there are {', '.join(by_name)}"
        )
    return from_mapping(by_name[name], settings, f"{where}, method {name}")


def described(method: AnyMethod) -> str:
    """The method with its settings, for people: `pissa (rank 32, quant_iterations 5)`."""
    settings = ", ".join(f"{name} {value}" for name, value in to_mapping(method).items())
    return f"{method.name} ({settings})" if settings else method.name
