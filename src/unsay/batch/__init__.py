"""Any number of photos through one verb: on this machine's cores or a cluster, resumed where it stopped.

A photo's way: `listing` names it, `planning` sees whether anything is to be done, `engine` hands it to a worker,
`work` does it there, `journal` keeps what came of it. `running.run_batch` joins them.
"""

from unsay.batch.job import Job
from unsay.batch.running import How, Progress, run_batch

__all__ = ["How", "Job", "Progress", "run_batch"]
