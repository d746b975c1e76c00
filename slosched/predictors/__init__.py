"""Predictors: how many output tokens a request still has to produce."""
