"""Recipes: trained encoders from data to bundle, over the trainer. Not installed."""
