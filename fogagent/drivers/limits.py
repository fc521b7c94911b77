"""Sets resource limits, then becomes another program: `limits.py DATA_BYTES PROGRAM ARGUMENTS…`.

Run as a file, without the package, between a worker and a sandbox: setting limits in the worker
would bind the worker, and code between fork and exec is not safe in a process with threads.
"""

import os
import resource
import sys

OPEN_FILES = 1024

if __name__ == "__main__":
    data_bytes = int(sys.argv[1])
    # Data, not address space: runtimes reserve far more addresses than they ever fill.
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.execvp(sys.argv[2], sys.argv[2:])
