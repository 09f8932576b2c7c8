"""Figures of a fleet from what its devices report. Pure: no I/O, no clock, no chance.

`histograms` merges latencies, `release_figures` adds up what a device said of one release,
`comparison` holds a release against the one before on the same devices, `shares` says how sure a
share is, `tags` finds by which tag good and bad devices differ.
"""
