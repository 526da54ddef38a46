"""Python imports this module at its start, if its folder is in `PYTHONPATH` (`drills.event_loops.watched`).

The process watches its event loop from when it serves: then it freezes its objects (`cli.processes`).
"""

import gc
import os

if "LOOP_LIMIT_MS" in os.environ:
    freeze = gc.freeze

    def freeze_and_watch() -> None:
        freeze()
        gc.freeze = freeze
        from drills.event_loops.monitor import log_slow_steps

        log_slow_steps(int(os.environ["LOOP_LIMIT_MS"]))

    gc.freeze = freeze_and_watch
