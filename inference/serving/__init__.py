"""Page in the browser and JSON interface of a model, for one machine."""
