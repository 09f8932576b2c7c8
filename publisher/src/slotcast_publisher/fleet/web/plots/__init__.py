"""Plots as vector graphics in the page itself: classes for colours, no style, no script.

`canvas` draws, `scales` says where; the others are one kind of plot each. Each takes numbers and
gives markup; none of them reads anything.
"""
