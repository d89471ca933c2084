"""How many synthetic rows to generate, and how sure that is."""
