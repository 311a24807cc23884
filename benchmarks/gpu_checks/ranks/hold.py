"""Hold memory of the device until the process is ended.

hold.py cuda|cpu GIBIBYTES [again]   with `again`, a second attempt holds nothing, and ends soon
"""

import os
import sys
import time

from telling import hold, tell

attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
tell(attempt=attempt, began=time.time(), pid=os.getpid())
if len(sys.argv) > 3 and attempt:
    time.sleep(4)  # for the check to ask the driver meanwhile
    sys.exit()
kept = hold(float(sys.argv[2]), device=sys.argv[1])
tell(attempt=attempt, held=float(sys.argv[2]), pid=os.getpid(), at=time.time())
print("step 1 loss 0.5", flush=True)
while True:
    time.sleep(1)
