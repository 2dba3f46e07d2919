"""From signals to scores with intervals: worker processes, bootstrap, paired differences."""
