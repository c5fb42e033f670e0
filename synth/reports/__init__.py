"""Reports: one page to look at, of data sets, evaluations and trainings."""
