"""Speed and memory beside other libraries; run each module by `python -m`."""
