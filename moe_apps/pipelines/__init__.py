"""Per domain: readers, training, baselines, metrics and report; and what they share."""
