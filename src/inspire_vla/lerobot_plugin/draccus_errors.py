"""What is wrong with a setting, in one line: draccus, which reads LeRobot's settings, says it in many or not at all."""

import re

from draccus.utils import DraccusException, ParsingError

from inspire_vla.errors import InspireError, reason_of


def refusal_of(error: BaseException, before: str = "--") -> InspireError | None:
    """What this package says of an error: its own that led to it, or that of LeRobot or draccus for a setting.

    Args:
        before: what is written before a setting's name, on a command line.
    """
    cause: BaseException | None = error
    of_draccus: list[DraccusException] = []
    while cause is not None and not isinstance(cause, InspireError):
        if isinstance(cause, DraccusException):
            of_draccus.append(cause)
        elif of_draccus and isinstance(cause, ValueError) and type(of_draccus[-1]) is ParsingError:
            return InspireError(f"{reason_of(cause)}.")  # why a class of settings cannot be made
        cause = cause.__cause__ or cause.__context__
    if cause is None and of_draccus:
        return InspireError(_explained(of_draccus[0], before))
    return cause


def _explained(error: DraccusException, before: str) -> str:
    """In one line: draccus names the setting's parts and the types that it tried on one line each."""
    text = str(error).strip()
    setting = ".".join(re.findall(r"`([\w.]+)`: ", text))
    reason = re.sub(r"^\s*([\w. |\[\],]+: )?(`[\w.]+`: )?", "", text.splitlines()[-1])
    if failed := re.search(r"Failed when parsing value='(.*)' into field", text):  # by an error of Python
        reason = f"the value {failed[1]} has another form than it takes"
    return f"{before}{setting}: {reason.rstrip('.')}." if setting else f"{reason.rstrip('.')}."
