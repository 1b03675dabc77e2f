"""When data changes: what lies below a change is renewed at once, and not only at night.

An asset says itself that it wakes, by `automation_condition=when_data_changes()`. That a table has changed is told by
`offpeak sources listen`, or found out by the sensor `offpeak_sources`; both ask at constant cost and buy nothing.
"""

import dagster as dg

data_changes = dg.AutomationConditionSensorDefinition(
    name="data_changes",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=3,  # the daemon looks every 5 s: with as much here, a look is left out now and then
    description="Runs what lies below the tables that have changed. Without a change there is no run, and no purchase.",
)
