"""The upgrade drill itself, from the baseline: what 0.1.0 is made of."""

import subprocess

import pytest
from short_drills import ROOT, TIMEOUT, passes

BASELINE = "dfdf5a9e"
"""From this commit on, tables, names and histories are compatible."""


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 60)
def test_an_installation_of_the_baseline_is_upgraded_while_events_come_in() -> None:
    """Timeline: the baseline runs, then this code, the baseline, and this code again; at each roll, retries, timers,
    queues, a release, a recovery, a bulk action, incidents and a schedule are open.
    """
    command = ["git", "-C", str(ROOT), "cat-file", "-e", f"{BASELINE}^{{commit}}"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this copy of the repository does not have the history that begins with the baseline")
    passes("upgrade", "--from", BASELINE, "--seconds", 1, "--rate", 2)
