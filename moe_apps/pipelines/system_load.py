"""What a training takes of the machine, at the end of each epoch."""

from __future__ import annotations

import psutil

MEGABYTE = 1e6


class SystemLoad:
    """Use of processors and memory, under the names that MLflow shows as system metrics.

    MLflow's own monitor asks the server every ten seconds in a thread; here the values go with
    those of the epoch, into the journal too.

    Example:
        >>> load = SystemLoad()
        >>> sorted(load.read())[0]
        'system/cpu_utilization_percentage'
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call starts the measurement
        psutil.cpu_percent()

    def read(self) -> dict[str, float]:
        """Means since the last call of processor use (of all cores; of this process 100 is one
        core), and memory as it is now, in megabytes or percent."""
        memory = psutil.virtual_memory()
        used = self._process.memory_info().rss
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": used / MEGABYTE,
            "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
        }
