"""The running service: its processes, its worker, its health, its first start."""
