"""``tidecast backtest``: a file through the engine that runs live, scored."""
