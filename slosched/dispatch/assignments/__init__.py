"""Who gets a request: ours, which plans, and those that choose as soon as it comes."""
