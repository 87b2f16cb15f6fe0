"""From the records of a study to tables, effects and figures. Reads what a study left behind; never trains."""
