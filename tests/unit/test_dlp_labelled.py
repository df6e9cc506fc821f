"""Precision and recall on the labelled set; ``make dlp`` prints them; ADR 0019 has those of others."""

import sys
from collections import Counter

from agentos_shared.dlp import DETECTOR
from tests.fixtures.labelled_secrets import labelled

LEAST_PRECISION = 0.99
LEAST_RECALL = 0.97


def test_precision_and_recall_on_the_labelled_set() -> None:
    cases = labelled()
    assert len(cases) >= 400
    found_true, missed, false = 0, Counter[str](), Counter[str]()
    for case in cases:
        raw = case.text.encode()
        finds = [raw[find.start : find.end] for find in DETECTOR.find(raw)]
        if case.secret is None:
            false[case.kind] += bool(finds)
        elif any(case.secret.encode() in find for find in finds):
            found_true += 1
        else:
            missed[case.kind] += 1
    positives = sum(case.secret is not None for case in cases)
    precision, recall = found_true / (found_true + false.total()), found_true / positives
    sys.stdout.write(
        f"\n{positives} secrets, {len(cases) - positives} other texts: precision {precision:.3f}, recall {recall:.3f}; "
        f"missed {dict(missed)}, false {+false}\n"
    )
    assert precision >= LEAST_PRECISION
    assert recall >= LEAST_RECALL
