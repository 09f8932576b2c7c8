"""Finders: where a file's tensors lie, a module for each format.

A finder is given a file and says where its tensors are, counted from the start of the file.
Nothing is loaded, and nothing that a file says is run or believed beyond its own bytes: a file that
is not what it promises has no tensors, and goes the way of all other bytes.
"""
