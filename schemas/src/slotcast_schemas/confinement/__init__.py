"""Closes a process in before it runs a model that nobody here has run.

`sandbox.close_in` puts the layers on, each by what this kernel has: `privileges` (another user, no
capabilities), `landlock` (which files), `call_filter` (which system calls). `trial` asks a kernel
which of them hold. Linux alone; elsewhere nothing holds, and that is said.

Nothing here needs a compiler, a library or rights of root: the kernel is called by `ctypes`
(docs/adr/0150).
"""
