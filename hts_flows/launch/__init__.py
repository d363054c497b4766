"""Running: the local MongoDB, FireWorks, workers, failures and resubmission."""
