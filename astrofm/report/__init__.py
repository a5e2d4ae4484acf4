"""Reports: pictures, charts and self-contained HTML pages made from results."""
