"""Transfer: probes, fine-tuning and their metrics with uncertainties."""
