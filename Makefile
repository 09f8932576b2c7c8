# One line each; the work is in tools/, and CI (.ci/run) calls the same targets. docs/development.md explains.
.PHONY: help dev demo test check bench soak zoo mutants versions arm docs site screenshots wheels lock clean
export PYTHON ARGS

help: ; @sed -n '/^help/d; s/^\([a-z]*\):.*#: /\1\t/p' Makefile
dev: ; @tools/dev #: the environment in .venv, with both commands in it
demo: dev ; @.venv/bin/python -m examples.demo $(ARGS) #: one whole update on real models, to look at
test: dev ; @tools/test $(ARGS) #: all tests, against a real Mosquitto
check: dev ; @tools/check #: lint, format, types, import contract, schema files in step
bench: dev ; @.venv/bin/python -m benchmarks $(ARGS) #: what the documents claim, measured
soak: dev ; @.venv/bin/python -m tests.soak $(ARGS) #: the long sweeps
zoo: dev ; @.venv/bin/python -m tests.zoo $(ARGS) #: models that other people ship, and onnx's node tests: released, installed, damaged
mutants: dev ; @.venv/bin/python tools/mutants.py $(ARGS) #: one change at a time in core and codecs: what do the tests notice?
arm: dev ; @tests/arm/run $(ARGS) #: the device client on aarch64, emulated
versions: dev ; @.venv/bin/python tools/versions.py $(ARGS) #: unit tests with every Python promised; --packages oldest, newest
docs: dev ; @tools/docs #: links and targets that the documents name
site: dev ; @.venv/bin/python -m tools.build_site #: the documents as a site with a search, in build/site; strict
screenshots: dev ; @tools/screenshots #: every screen of the page, light, dark and on a phone, into docs/images/page
wheels: dev ; @.venv/bin/python tools/wheels.py #: wheels and sdists of the three distributions, into dist/
lock: dev ; @tools/lock $(ARGS) #: resolve constraints.txt anew
clean: ; @rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist benchmarks/out #: back to a fresh clone
