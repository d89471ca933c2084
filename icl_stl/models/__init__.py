"""Networks that learn in context: of whole prompts (`causal`), of one query (`query`)."""
