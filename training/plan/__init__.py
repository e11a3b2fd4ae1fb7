"""--task=plan: a training step compiled for devices that are not there."""
