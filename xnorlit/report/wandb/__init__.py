"""A pair on W&B: the report and the saved view, built by code, and the upload of runs that were trained offline."""
