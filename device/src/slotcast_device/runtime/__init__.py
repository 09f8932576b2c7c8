"""The runtime and this process: memory, and what onnxruntime says of tensors."""
