"""All SQL of the gateway, one module for each group of tables."""
