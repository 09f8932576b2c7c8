"""The device client on aarch64, emulated: `make arm`."""
