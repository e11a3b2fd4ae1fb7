"""Parts that several families share: links of modules, readers of configs."""
