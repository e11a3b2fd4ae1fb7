"""Videos: files decoded at chosen times, and clips of them as inputs."""
