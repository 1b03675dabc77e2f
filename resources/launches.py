"""The launches of `launches.yaml`, as the assets need them that are pre-computed for one."""

from offpeak import launch_partitions
from offpeak.launches.listed import read_launches
from resources.batch_api import LAUNCHES

LAUNCH = launch_partitions(read_launches(LAUNCHES))
"""A partition for each launch. One that is added to the list has its own once the definitions are loaded again."""
