"""What the robot is asked about an object, one sentence per reasoning mode (arXiv 2505.13888)."""

from inspire_vla.errors import InspireError, did_you_mean

QUESTIONS: dict[str, str] = {
    "direction": "In which direction is {mention} relative to the robot?",
    "direction_3d": "In which direction is {mention} relative to the robot? x, y, z:",
    "position": "What is the accurate position of {mention} relative to the robot? x, y, z:",
    "distance": "What is the distance between the robot and {mention}?",
    "distance_fine": "What is the accurate distance between the robot and {mention}?",
}


def question(mention: str, mode: str = "direction") -> str:
    """Return the question about a mention, which stands as it is, article and all.

    >>> question("the black bowl")
    'In which direction is the black bowl relative to the robot?'

    Raises InspireError for an unknown mode or an empty mention.
    """
    if mode not in QUESTIONS:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), QUESTIONS)}")
    if not mention.strip():
        raise InspireError("There is nothing to ask about: the mention is empty.")
    return QUESTIONS[mode].replace("{mention}", mention)
