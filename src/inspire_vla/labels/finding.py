"""What was found in a dataset that nobody said, in lines that a person reads before labelling."""

from dataclasses import dataclass

from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.labeller import Recording


@dataclass(frozen=True)
class Finding:
    """One line of what was found in a dataset: what, its value, why, and the option that overrules it."""

    what: str
    value: str
    why: str = ""
    option: str = ""

    def __str__(self) -> str:
        reason = f"because: {self.why}" if self.why else ""
        option = f"else: {self.option}" if self.option else ""
        below = "; ".join(part for part in (reason, option) if part)
        return f"  {self.what:<9} {self.value}" + (f"\n            {below}" if below else "")


def column_findings(columns: EndEffectorColumns, recording: Recording, *, several: bool) -> list[Finding]:
    """The columns of one arm, of several or not, and why they were chosen."""
    findings = []
    for what, values in columns.parts.items():
        text = (f"{columns.arm} arm: " if several else "") + values.described(recording.names)
        option = f"--{what}"
        if what == "position":
            text += ", metres" if columns.joints is None else ", joints of the URDF"
            option += ", --metres-per-unit" * (columns.joints is None) + ", --arm" * several
        findings.append(Finding(what, text, columns.reasons.get(what, ""), option))
        if what == "position" and columns.joints is not None:
            findings.append(
                Finding("joints", f"in {columns.joints.shown_unit}", columns.joints.why, "--joint-unit")
            )
    return findings
