"""Why the failed episodes of an evaluation failed: the encoder, the predictor, the objective or the search."""
