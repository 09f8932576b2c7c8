"""One whole story of updates on real models, told in the terminal: `make demo`."""
