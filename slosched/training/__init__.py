"""Training of length predictors: from answers that were given to a model that expects the next."""
