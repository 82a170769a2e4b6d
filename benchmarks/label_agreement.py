"""Agreement of labels made from demonstrations alone with the ground truth of the simulator.

    python benchmarks/label_agreement.py DATASET [DATASET …]

The datasets are those of `inspire collect`, which carry the ground truth. Intervals are 95 %, by bootstrap over
episodes, because labels of one episode are not independent. Words have Wilson intervals over labels, which are too
narrow and only a guide.
"""

import sys
import time

from inspire_vla.evaluation import wilson
from inspire_vla.labels.episode_labeller import DemonstrationLabeller
from inspire_vla.labels.summary import agreement


def main(roots: list[str]) -> None:
    for root in roots:
        started = time.process_time()
        found = agreement(root, DemonstrationLabeller())
        seconds = time.process_time() - started
        low, high = found.interval()
        print(f"\n{root}: {len(found.episodes)} episodes, {found.asked} labels, {seconds:.1f} s of one core")
        print(
            f"all   {100 * found.correct / found.asked:.1f} % [{100 * low:.1f}, {100 * high:.1f}] over episodes\n"
        )
        print("| truth | agree | n | most frequent error |\n|---|---|---|---|")
        words = sorted({truth for truth, _ in found.confusion}, key=lambda word: -found.of_word(word)[1])
        for word in words:
            correct, true = found.of_word(word)
            other = {said: n for (truth, said), n in found.confusion.items() if truth == word != said}
            often = max(other, key=lambda said: other[said], default="")
            estimate = wilson(correct, true)
            note = f"{often or 'no label'} ({100 * other[often] / true:.1f} %)" if other else ""
            print(f"| {word} | {estimate} | {true} | {note} |")
        print("\n| confidence | share of labels | agree |\n|---|---|---|")
        for tenth, (asked, correct) in sorted(found.by_confidence.items()):
            share = 100 * asked / found.asked
            print(
                f"| {tenth / 10:.1f}–{(tenth + 1) / 10:.1f} | {share:.1f} % | {100 * correct / asked:.1f} % |"
            )
        for role, (asked, correct) in sorted(found.by_role.items()):
            print(f"mention {role + 1}: {100 * correct / asked:.1f} % of {asked}")


if __name__ == "__main__":
    main(sys.argv[1:])
