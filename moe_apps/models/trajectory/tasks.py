"""What the systems answer: names in a fixed order."""

TASKS = ("longitudinal", "lateral", "intention")
INTENTIONS = ("keep", "left", "right")
NEIGHBOURS = 6
