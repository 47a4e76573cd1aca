"""Search for better settings, judged on validation alone."""
