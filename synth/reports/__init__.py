"""Reports: HTML pages about data sets, evaluations and trainings."""
